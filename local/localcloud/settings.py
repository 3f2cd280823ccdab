"""Addresses, directories and limits of localcloud, in one frozen model.

Read from the environment (``LOCALCLOUD_<FIELD>``, mappings and lists as JSON) and, in the programs, from the command
line (``--lake-dir`` for ``lake_dir``; the command line wins). An unknown or impossible value fails at start.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX: Final = "LOCALCLOUD_"
_HERE: Final = Path(__file__).resolve().parent
_KEPT: Final = ("PATH", "HOME", "JAVA_HOME", "LANG", "LC_ALL", "TMPDIR", "USER")

Port = Annotated[int, Field(gt=0, lt=65536)]


class LocalcloudSettings(BaseSettings):
    """What every program of localcloud shares. All sockets are loopback; directories are made when missing."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", validate_default=True, cli_kebab_case=True
    )

    host: str = Field(default="127.0.0.1", description="loopback address to bind")
    port: Port = Field(default=5050, description="EMR, SageMaker, CloudWatch, Secrets Manager, STS, IAM")
    gateway_port: Port = Field(default=5051, description="InvokeEndpoint, /faults and /health")
    s3_port: Port = Field(default=5052, description="S3 API")
    dynamodb_port: Port = Field(default=5053, description="DynamoDB API")
    redis_host: str = "127.0.0.1"
    redis_port: Port = 6379

    state_dir: Path = Field(default=Path("build/localcloud/state"), description="journal, faults, tables: survives")
    lake_dir: Path = Field(default=Path("build/localcloud/lake"), description="a bucket is a sub-directory")
    work_dir: Path = Field(default=Path("build/localcloud/work"), description="scratch of steps, jobs and endpoints")
    sole_writer: bool = Field(
        default=False, description="nothing but this S3 API writes lake_dir, so its keys may be held in memory"
    )
    bucket: str = Field(default="adrank-lake", description="made at start, readable as s3:// by Spark")
    prefixes: tuple[str, ...] = Field(
        default=(
            *("raw", "features", "validation", "online", "training", "models", "experiments", "staging", "code"),
            *("logs", "metrics", "monitoring", "reports", "mlflow", "inbox", "quarantine"),
            *("tiles", "rollups", "windows", "examination", "catalogue", "audit", "served"),
        ),
        description="top prefixes of the bucket that s3:// reaches in Spark",
    )

    region: str = "eu-west-1"
    access_key: str = "localcloud"
    secret_key: str = Field(default="localcloud-secret", repr=False)
    images: Path = Field(
        default=_HERE / "sagemaker" / "images.yaml", description="image repository name -> how to run it"
    )
    python: Path = Field(default=Path(sys.executable), description="interpreter of steps, jobs and endpoints")
    environment: dict[str, str] = Field(default_factory=dict, description="added to every child's environment")

    spark_master: str = "local[2]"
    spark_driver_memory: str = "2g"
    spark_java_options: str = Field(
        # The quick compiler's code outgrows its cache in minutes; then nothing is compiled any more.
        default="-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC",
        description="of the driver's JVM; the default halves the start-up of small steps, heavy ones want the full JIT",
    )
    spark_classes: Path | None = Field(default=None, description="archive made by localcloud.emr.class_archive")
    spark_shuffle_partitions: int = Field(default=2, ge=1)

    stop_grace_seconds: float = Field(default=5, ge=0, description="between SIGTERM and SIGKILL")
    ping_timeout_seconds: float = Field(
        default=600,
        gt=0,
        description="how long a serving process that runs may take to answer: not only on fast machines",
    )
    request_timeout_seconds: float = Field(default=60, gt=0, description="of one invocation, as in SageMaker")
    metrics_seconds: float = Field(default=2, gt=0, description="between publications of the gateway's metrics")
    alarms_seconds: float = Field(default=1, gt=0, description="between evaluations of the alarms")

    @field_validator("state_dir", "lake_dir", "work_dir", "images")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("python")
    @classmethod
    def _not_through_links(cls, value: Path) -> Path:
        # A virtual environment's python is a link: resolving it would leave the environment.
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _names_are_known(self) -> LocalcloudSettings:
        fields = {f"{_PREFIX}{name}".upper() for name in type(self).model_fields}
        unknown = [name for name in os.environ if name.startswith(_PREFIX) and name not in fields]
        if unknown:
            raise ValueError(f"unknown settings in the environment: {', '.join(sorted(unknown))}")
        return self

    def make_directories(self) -> None:
        """Create the lake with its bucket and top prefixes, the state and the scratch directory."""
        for directory in (self.state_dir, self.work_dir, self.lake_dir / self.bucket):
            directory.mkdir(parents=True, exist_ok=True)
        for prefix in self.prefixes:
            (self.lake_dir / self.bucket / prefix).mkdir(exist_ok=True)

    @property
    def faults_file(self) -> Path:
        """The active faults, read by the object store and by the tables."""
        return self.state_dir / "faults.json"

    @property
    def tables_dir(self) -> Path:
        """Where the DynamoDB tables live."""
        return self.state_dir / "dynamodb"

    @property
    def gateway_url(self) -> str:
        """Base URL of the InvokeEndpoint gateway and of the fault switches."""
        return f"http://{self.host}:{self.gateway_port}"

    def client_environment(self) -> dict[str, str]:
        """What points any AWS SDK at this cloud: endpoint URLs, region, credentials."""
        control, address = f"http://{self.host}:{self.port}", f"http://{self.host}"
        planes = ("EMR", "SAGEMAKER", "CLOUDWATCH", "SECRETS_MANAGER", "STS", "IAM")
        return {
            **{f"AWS_ENDPOINT_URL_{plane}": control for plane in planes},
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.gateway_url,
            "AWS_ENDPOINT_URL_S3": f"{address}:{self.s3_port}",
            "AWS_ENDPOINT_URL_DYNAMODB": f"{address}:{self.dynamodb_port}",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def child_environment(self) -> dict[str, str]:
        """The whole environment of a step, a job or an endpoint: nothing of this process leaks into it."""
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        kept["PATH"] = f"{self.python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return {**kept, "TZ": "UTC", "PYTHONUNBUFFERED": "1", **self.client_environment(), **self.environment}


def from_command_line() -> LocalcloudSettings:
    """The configuration of a program: its arguments over its environment."""
    return LocalcloudSettings(_cli_parse_args=True)
