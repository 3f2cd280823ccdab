"""Logs a trained package to MLflow, once however often the job is retried."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from adrank.contracts.packages import DIGEST_TAG
from adrank.runtime.sagemaker_job import JobError

_log = logging.getLogger(__name__)

URI_VARIABLE: Final = "MLFLOW_TRACKING_URI"
JOB_TAG: Final = "job_name"
ARTIFACT_PATH: Final = "package"


def log_run(
    experiment: str,
    job_name: str,
    package: Path,
    *,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    series: Mapping[str, Sequence[float]],
    tags: Mapping[str, str],
) -> str:
    """Log one run and return its id.

    The run is found again by job name and package digest: a finished one is left as it is, an unfinished one completed.
    ``series`` are metrics with one value per step.

    :raises JobError: no tracking server is configured
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    if not os.environ.get(URI_VARIABLE):
        raise JobError(f"{URI_VARIABLE} is not set: nowhere to log the run")
    client = MlflowClient()
    experiment_id = _ensure_experiment(client, experiment)
    run = _find(client, experiment_id, job_name, tags[DIGEST_TAG])
    if run is not None and run.info.status == "FINISHED":
        _log.info("MLflow run %s of an earlier try holds this package already", run.info.run_id)
        return str(run.info.run_id)
    if run is None:
        run = client.create_run(experiment_id, run_name=job_name, tags={**tags, JOB_TAG: job_name})
    run_id = str(run.info.run_id)
    steps = [(name, value, 0) for name, value in metrics.items()]
    steps += [(name, value, step) for name, values in series.items() for step, value in enumerate(values)]
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, run.info.start_time, step) for name, value, step in steps],
        params=[Param(name, str(value)) for name, value in parameters.items()],
    )
    client.log_artifacts(run_id, str(package), ARTIFACT_PATH)
    client.set_terminated(run_id, "FINISHED")
    _log.info("Logged package %s as MLflow run %s", tags[DIGEST_TAG][:12], run_id)
    return run_id


def _find(client: Any, experiment_id: str, job_name: str, digest: str) -> Any | None:
    condition = f"tags.{JOB_TAG} = '{job_name}' AND tags.{DIGEST_TAG} = '{digest}'"
    runs = client.search_runs([experiment_id], condition, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def _ensure_experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)
