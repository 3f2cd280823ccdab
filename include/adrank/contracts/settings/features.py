"""Settings of the features: the lake, where they are computed, where they are served, how they are checked."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from adrank.contracts.base import FrozenModel


class Lake(FrozenModel):
    """The S3 bucket that holds everything, and where the jobs' code was published."""

    bucket: str = "adrank-lake"
    code_prefix: str = Field(default="code/current", description="prefix below which `python -m deploy.publish` writes")
    browse_url: str = Field(
        default="https://{bucket}.s3.{region}.amazonaws.com/{key}",
        description="where people read an object: what links in the Airflow UI lead to",
    )

    @field_validator("browse_url")
    @classmethod
    def _names_the_key(cls, template: str) -> str:
        try:
            url = template.format(bucket="b", region="r", key="k/")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"{template}: only {{bucket}}, {{region}} and {{key}} are known") from error
        if "k/" not in url:
            raise ValueError(f"{template}: does not name the {{key}}")
        return template


class Emr(FrozenModel):
    """The EMR cluster: found by its name tag."""

    cluster_name: str = "adrank-features"
    step_timeout: timedelta = timedelta(hours=2)
    log_timeout: timedelta = Field(
        default=timedelta(minutes=10), description="how long a failed step's log may take to reach the LogUri"
    )
    poll_seconds: float = Field(default=20, gt=0)


class Online(FrozenModel):
    """The online stores. Their credentials come from the execution role and the secret named here."""

    redis_host: str = "redis.internal"
    redis_port: int = Field(default=6379, gt=0, lt=65536)
    redis_tls: bool = True
    redis_timeout_ms: int = Field(default=50, gt=0)
    dynamodb_timeout_ms: int = Field(default=200, gt=0)
    features_table: str = "adrank-features"
    experiments_table: str = "adrank-experiments"


class Expectations(FrozenModel):
    """What feature partitions must be like to be pushed, beyond what the registry declares."""

    min_row_ratio: float = Field(default=0.5, gt=0, le=1, description="of an hour's rows to those of the day before")
    max_row_ratio: float = Field(default=2, ge=1, description="the same; a log's first weeks may grow with its age")
    min_rows_compared: int = Field(
        default=1000, ge=1, description="rows of the day before, below which nothing is said"
    )


class Audit(FrozenModel):
    """Whether the online stores serve what the offline partitions say."""

    sample: int = Field(default=5000, ge=1, description="keys of each group that an hour's audit reads back, at most")
    served_sample: float = Field(
        default=0.01, ge=0, le=1, description="share of the requests whose stored rows the endpoints log; 0: none"
    )
    max_skew: float = Field(
        default=0.01, ge=0, le=1, description="share of any group's keys that may differ before training refuses"
    )
    max_age: timedelta = Field(
        default=timedelta(hours=6), gt=timedelta(0), description="training asks for an audit as recent as this"
    )
    allow_unaudited: bool = Field(default=False, description="train although no recent hour was audited")
