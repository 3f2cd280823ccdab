"""The one place that tells every process where the stack's servers are.

Servers, the demo's driver and tests all use :func:`environment`, which is pure and holds no secret: passwords and keys
lie in files (mode 600) that it names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import boto3
from botocore.config import Config

from adrank.contracts.settings import Emr, Lake
from stack import paths
from stack.settings import HOST, ROOT, StackSettings

REGION: Final = "eu-west-1"
MARKETPLACE: Final = "marketplace"
"""The operational database: what ads and sellers are captured from."""
MARKER: Final = "EMBEDDED_STACK_HOME"
"""Variable that every process of a stack, and whatever it starts, carries: its stack's home."""
AIRFLOW_USERS: Final = {"admin": "admin", "ml_engineer": "op", "product_manager": "op"}

#: Airflow's own limits suppose a machine that is not busy. Here a slow answer, parse or heartbeat is no failure.
_SLOW_MACHINE_LIMITS: Final = {
    "core": {"dagbag_import_timeout": "300"},
    "dag_processor": {"dag_file_processor_timeout": "360", "stale_dag_threshold": "600"},
    "scheduler": {"scheduler_health_check_threshold": "120"},
    "triggerer": {"triggerer_health_check_threshold": "120", "runner_health_check_threshold": "120"},
    "workers": {"execution_api_timeout": "60", "max_failed_heartbeats": "20"},
}

_FOREIGN: Final = re.compile(
    r"^(AIRFLOW_|LOCALCLOUD_|AWS_|ADRANK_|MLFLOW_|PG[A-Z]|SAGEMAKER_|SPARK_|PYTHONPATH$|VIRTUAL_ENV$)"
)


LOCAL_PATH: Final = {"PYTHONPATH": os.pathsep.join([str(ROOT / "local"), str(ROOT / "include")])}
"""Where programs of ``local/`` find their code."""


def url(stack: StackSettings, server: str) -> str:
    """``http://127.0.0.1:<port>`` of a server by its port's name."""
    return f"http://{HOST}:{stack.ports.numbers()[server]}"


def database(stack: StackSettings, name: str, driver: str = "psycopg2") -> str:
    """SQLAlchemy address of one of the stack's databases; the password comes from ``PGPASSFILE``."""
    return f"postgresql+{driver}://adrank@{HOST}:{stack.ports.postgres}/{name}"


def environment(stack: StackSettings) -> dict[str, str]:
    """Every variable that a process of, or beside, this stack needs."""
    return _aws(stack) | _adrank(stack) | _airflow(stack) | _rest(stack) | stack.extra_environment


def process_environment(stack: StackSettings, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``inherited`` less what points elsewhere (a user's AWS profile, another Airflow), plus :func:`environment`."""
    kept = {key: value for key, value in inherited.items() if not _FOREIGN.match(key)}
    path = os.pathsep.join([str(ROOT / ".venv" / "bin"), inherited.get("PATH", os.defpath)])
    return kept | {"PATH": path} | environment(stack)


def aws_client(stack: StackSettings, service: str) -> Any:
    """A boto3 client of a service of one stack's localcloud, whatever the process's own environment says."""
    variables = _aws(stack)
    specific = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
    return boto3.session.Session().client(
        service,
        region_name=variables["AWS_REGION"],
        endpoint_url=variables.get(specific, variables["AWS_ENDPOINT_URL"]),
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, proxies={}),
    )


def _aws(stack: StackSettings) -> dict[str, str]:
    nowhere = str(stack.home / "no-aws-profile")
    return {
        "AWS_ENDPOINT_URL": url(stack, "localcloud"),
        "AWS_ENDPOINT_URL_S3": url(stack, "s3"),
        "AWS_ENDPOINT_URL_DYNAMODB": url(stack, "dynamodb"),
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url(stack, "runtime"),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "localcloud",
        "AWS_SECRET_ACCESS_KEY": "localcloud-secret",
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _adrank(stack: StackSettings) -> dict[str, str]:
    return {
        "ADRANK_REGION": REGION,
        "ADRANK_LAKE__BUCKET": Lake().bucket,
        "ADRANK_LAKE__BROWSE_URL": f"{url(stack, 's3')}/{{bucket}}/{{key}}",
        "ADRANK_EMR__CLUSTER_NAME": Emr().cluster_name,
        "ADRANK_EMR__POLL_SECONDS": "0.5",
        "ADRANK_ONLINE__REDIS_HOST": HOST,
        "ADRANK_ONLINE__REDIS_PORT": str(stack.ports.redis),
        "ADRANK_ONLINE__REDIS_TLS": "false",
        # Two cores are shared with Spark: a store that answers late is no outage here.
        "ADRANK_ONLINE__REDIS_TIMEOUT_MS": "1000",
        "ADRANK_ONLINE__DYNAMODB_TIMEOUT_MS": "2000",
        "ADRANK_SAGEMAKER__POLL_SECONDS": "1",
        "ADRANK_TRAINING__MLFLOW_TRACKING_URI": url(stack, "mlflow"),
        "ADRANK_EVENTS__BROKERS": f"{HOST}:{stack.ports.kafka}",
        "ADRANK_EVENTS__CLIENT": json.dumps({"broker.address.family": "v4"}),
        # Killed, the embedded broker takes a retry for a duplicate of what it never wrote: acknowledged, and lost.
        "ADRANK_EVENTS__IDEMPOTENCE": "false",
        "ADRANK_EVENTS__METRICS_HOST": HOST,
        "ADRANK_EVENTS__METRICS_PORT": str(stack.ports.archiver),
        "ADRANK_EVENTS__FLUSH_INTERVAL": "PT2S",
        # Simulated traffic runs its event clock ahead of the wall's, by days.
        "ADRANK_EVENTS__MAX_FUTURE": "P365D",
        "ADRANK_EVENTS__CLOCK_SKEW": "P365D",
        "ADRANK_EVENTS__HEARTBEAT_INTERVAL": "PT0S",
        "ADRANK_CDC__HOST": HOST,
        "ADRANK_CDC__PORT": str(stack.ports.postgres),
        "ADRANK_CDC__DATABASE": MARKETPLACE,
        "ADRANK_CDC__METRICS_HOST": HOST,
        "ADRANK_CDC__METRICS_PORT": str(stack.ports.capture),
        "ADRANK_CDC__FLUSH_INTERVAL": "PT1S",
        # The marketplace's own clock times its changes and closes its hours, because that clock may be compressed.
        "ADRANK_CDC__TIME_COLUMN": "updated_at",
        "ADRANK_CDC__HEARTBEAT_INTERVAL": "PT0S",
        "ADRANK_BILLING__METRICS_HOST": HOST,
        "ADRANK_BILLING__METRICS_PORT": str(stack.ports.billing),
        "ADRANK_EXPERIMENT__POLL_SECONDS": "2",
        "ADRANK_ROLLOUT__STEP_WAIT": "PT10S",
        "ADRANK_ROLLOUT__TERMINATION_WAIT": "PT2S",
        "ADRANK_AIRFLOW__RETRY_DELAY": "PT5S",
    }


def _airflow(stack: StackSettings) -> dict[str, str]:
    options = {
        "core": {
            "dags_folder": str(ROOT / "dags"),
            "plugins_folder": str(ROOT / "plugins"),
            "executor": "LocalExecutor",
            "parallelism": "6",
            **_SLOW_MACHINE_LIMITS["core"],
            "load_examples": "False",
            "execution_api_server_url": f"{url(stack, 'airflow')}/execution/",
            "simple_auth_manager_users": ",".join(f"{user}:{role}" for user, role in AIRFLOW_USERS.items()),
            "simple_auth_manager_passwords_file": str(paths.airflow_passwords(stack)),
        },
        "database": {"sql_alchemy_conn": database(stack, "airflow"), "load_default_connections": "False"},
        "api": {
            "base_url": url(stack, "airflow"),
            "host": HOST,
            "port": str(stack.ports.airflow),
            "workers": "1",
            "instance_name": "adrank (embedded)",
        },
        # One parser and modest intervals: the machine's cores belong to the jobs.
        "dag_processor": {
            "parsing_processes": "1",
            "min_file_process_interval": "30",
            "refresh_interval": "15",
            **_SLOW_MACHINE_LIMITS["dag_processor"],
        },
        # Between two tasks a run waits for the scheduler's next look, by default up to a second.
        "scheduler": {
            "task_queued_timeout": "1800",
            "scheduler_idle_sleep_time": "0.5",
            **_SLOW_MACHINE_LIMITS["scheduler"],
        },
        "triggerer": _SLOW_MACHINE_LIMITS["triggerer"],
        # A worker may notice the end of a task only at its next heartbeat. A task that deferred and is resumed before
        # that counts as killed from outside, so the heartbeat has to be quicker than the quickest trigger.
        "workers": {"min_heartbeat_interval": "1", **_SLOW_MACHINE_LIMITS["workers"]},
        "logging": {"base_log_folder": str(paths.airflow_home(stack) / "logs")},
        "usage_data_collection": {"enabled": "False"},
    }
    connections = {
        "AWS_DEFAULT": {"conn_type": "aws", "extra": {"region_name": REGION}},
        "ADRANK_SPARK": {"conn_type": "spark", "host": "local[2]"},
        "ADRANK_MLFLOW": {"conn_type": "http", "host": HOST, "port": stack.ports.mlflow, "schema": "http"},
    }
    return (
        {"AIRFLOW_HOME": str(paths.airflow_home(stack)), "SPARK_CONF_DIR": str(paths.spark_conf(stack))}
        | {f"AIRFLOW__{s}__{key}".upper(): value for s, keys in options.items() for key, value in keys.items()}
        | {f"AIRFLOW_CONN_{name}": json.dumps(connection) for name, connection in connections.items()}
    )


def _rest(stack: StackSettings) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": url(stack, "mlflow"),
        "PGUSER": "adrank",
        "PGPASSFILE": str(paths.pgpass(stack)),
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "TZ": "UTC",
    }
