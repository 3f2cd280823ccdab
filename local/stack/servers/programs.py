"""The servers of the embedded stack, in the order in which they need each other."""

from __future__ import annotations

import json
import sys
from typing import Final

from adrank.contracts.settings import Lake
from stack import paths
from stack.environment import LOCAL_PATH, MARKER, database, environment, url
from stack.servers import kafka, postgres
from stack.servers.broker_retention import RetentionArguments
from stack.settings import HOST, ROOT, StackSettings
from stack.setup.__main__ import SPARK_CLASSES
from stack.supervisor.config import Program

LOCALCLOUD: Final = {
    "objects": "localcloud.storage.object_store",
    "broker-objects": "localcloud.storage.object_store",
    "dynalite": "localcloud.storage.dynamodb",
    "localcloud": "localcloud.control_plane",
}
"""Program -> module, of the parts of localcloud."""

_JOBS_GET: Final = (
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "NO_PROXY", "no_proxy"),
    *("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED"),
)


def programs(stack: StackSettings) -> tuple[Program, ...]:
    """All programs of a stack; pure, but for looking where PostgreSQL's binaries and data lie."""
    return (
        _postgres(stack),
        _redis(stack),
        *(_localcloud(stack, name, module) for name, module in LOCALCLOUD.items()),
        kafka.program(stack),
        *_ingestion(),
        _broker_retention(stack),
        _mlflow(stack),
        *_airflow(),
    )


def localcloud_environment(stack: StackSettings) -> dict[str, str]:
    """localcloud's own settings, and what the steps, jobs and endpoints that it starts are given beside their own."""
    shared = environment(stack)
    for_jobs = {key: shared[key] for key in _JOBS_GET} | {MARKER: str(stack.home)}
    return {
        "LOCALCLOUD_HOST": HOST,
        "LOCALCLOUD_PORT": str(stack.ports.localcloud),
        "LOCALCLOUD_GATEWAY_PORT": str(stack.ports.runtime),
        "LOCALCLOUD_S3_PORT": str(stack.ports.s3),
        "LOCALCLOUD_DYNAMODB_PORT": str(stack.ports.dynamodb),
        "LOCALCLOUD_REDIS_HOST": HOST,
        "LOCALCLOUD_REDIS_PORT": str(stack.ports.redis),
        "LOCALCLOUD_STATE_DIR": str(paths.localcloud(stack) / "state"),
        "LOCALCLOUD_WORK_DIR": str(paths.localcloud(stack) / "work"),
        "LOCALCLOUD_LAKE_DIR": str(paths.lake(stack)),
        "LOCALCLOUD_SPARK_CLASSES": str(SPARK_CLASSES),
        "LOCALCLOUD_REGION": shared["AWS_REGION"],
        "LOCALCLOUD_ACCESS_KEY": shared["AWS_ACCESS_KEY_ID"],
        "LOCALCLOUD_SECRET_KEY": shared["AWS_SECRET_ACCESS_KEY"],
        "LOCALCLOUD_ENVIRONMENT": json.dumps(for_jobs, sort_keys=True),
    }


def _postgres(stack: StackSettings) -> Program:
    # SIGINT is PostgreSQL's fast shutdown; to its children the same signal means something else.
    return Program(
        "postgres", postgres.command(stack), user=postgres.system_user(), stop_signal="INT", stops_alone=True
    )


def _redis(stack: StackSettings) -> Program:
    options = {
        "bind": HOST,
        "port": str(stack.ports.redis),
        "dir": str(paths.redis(stack)),
        "appendonly": "yes",
        "save": "",
        "daemonize": "no",
    }
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    return Program("redis", ("redis-server", *flags))


def _localcloud(stack: StackSettings, name: str, module: str) -> Program:
    variables = LOCAL_PATH | localcloud_environment(stack)
    if name == "broker-objects":
        variables |= _broker_objects(stack)
    # It ends the steps, jobs and endpoints that it started itself.
    return Program(name, (sys.executable, "-m", module), variables, stops_alone=True)


def _broker_objects(stack: StackSettings) -> dict[str, str]:
    """What the broker's object store has for itself; the switches of faults are one for both."""
    return {
        "LOCALCLOUD_S3_PORT": str(stack.ports.broker_s3),
        "LOCALCLOUD_LAKE_DIR": str(paths.broker(stack)),
        "LOCALCLOUD_BUCKET": kafka.BUCKET,
        "LOCALCLOUD_PREFIXES": "[]",
        "LOCALCLOUD_SOLE_WRITER": "true",
    }


def _ingestion() -> tuple[Program, ...]:
    path = {"PYTHONPATH": str(ROOT / "include")}
    return (
        Program("archiver", (sys.executable, "-m", "ingestion.archiver"), path),
        # The JVM within it has its own handlers of signals; the process ends it in order.
        Program("capture", (sys.executable, "-m", "ingestion.capture"), path),
        Program("billing-exporter", (sys.executable, "-m", "ingestion.billing.exporter"), path),
    )


def _broker_retention(stack: StackSettings) -> Program:
    flags = RetentionArguments.command_line(log_url=url(stack, "broker_s3"))
    return Program("broker-retention", (sys.executable, "-m", RetentionArguments.program, *flags), LOCAL_PATH)


def _mlflow(stack: StackSettings) -> Program:
    return Program(
        "mlflow",
        (
            *_in_venv("mlflow", "server"),
            *("--host", HOST, "--port", str(stack.ports.mlflow), "--workers", "1"),
            *("--backend-store-uri", database(stack, "mlflow")),
            *("--artifacts-destination", f"s3://{Lake().bucket}/mlflow"),
            *("--allowed-hosts", f"{HOST}:{stack.ports.mlflow},localhost:{stack.ports.mlflow}"),
        ),
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )


def _airflow() -> tuple[Program, ...]:
    # Airflow's log servers listen on every interface; the UI reads the same files from disk, so they are left out.
    return (
        Program("airflow-apiserver", _in_venv("airflow", "api-server")),
        Program("airflow-scheduler", _in_venv("airflow", "scheduler", "--skip-serve-logs")),
        Program("airflow-dag-processor", _in_venv("airflow", "dag-processor")),
        Program("airflow-triggerer", _in_venv("airflow", "triggerer", "--skip-serve-logs")),
    )


def _in_venv(*command: str) -> tuple[str, ...]:
    name, *arguments = command
    return (sys.executable, str(ROOT / ".venv" / "bin" / name), *arguments)
