"""SageMaker processing and training jobs, submitted once per try however often a task is retried.

SageMaker never forgets a job name. A job is therefore called ``<base>-<n>``; an earlier try's live job is found by
its base.
"""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

JobKind = Literal["processing", "training"]
_API: Final[dict[JobKind, tuple[str, str, str, str]]] = {
    "processing": (
        "list_processing_jobs",
        "ProcessingJobSummaries",
        "ProcessingJobName",
        "ProcessingJobStatus",
    ),
    "training": ("list_training_jobs", "TrainingJobSummaries", "TrainingJobName", "TrainingJobStatus"),
}


class SageMakerJobsHook(SageMakerHook):
    """Jobs by base name."""

    def __init__(self, aws_conn_id: str, region_name: str) -> None:
        super().__init__(aws_conn_id=aws_conn_id, region_name=region_name)  # type: ignore[no-untyped-call]

    def tries(self, kind: JobKind, base: str) -> list[tuple[str, str]]:
        """(name, status) of every job of that base, oldest first."""
        operation, summaries, name, status = _API[kind]
        pages = self.conn.get_paginator(operation).paginate(NameContains=base)
        found = [(job[name], job[status]) for page in pages for job in page[summaries]]
        mine = [(job, state) for job, state in found if job.removeprefix(f"{base}-").isdigit()]
        return sorted(mine, key=lambda job: int(job[0].removeprefix(f"{base}-")))

    def live_job(self, kind: JobKind, base: str) -> str | None:
        """Name of the job that an earlier try left running."""
        return next((name for name, status in self.tries(kind, base) if status == "InProgress"), None)

    def next_name(self, kind: JobKind, base: str) -> str:
        """A name of that base that SageMaker has not seen."""
        tries = self.tries(kind, base)
        last = int(tries[-1][0].removeprefix(f"{base}-")) if tries else 0
        return f"{base}-{last + 1}"

    def submit(self, kind: JobKind, request: dict[str, Any]) -> None:
        """Create the job."""
        (self.conn.create_processing_job if kind == "processing" else self.conn.create_training_job)(**request)

    def describe(self, kind: JobKind, name: str) -> dict[str, Any]:
        """The job as SageMaker describes it."""
        if kind == "processing":
            return cast(dict[str, Any], self.conn.describe_processing_job(ProcessingJobName=name))
        return cast(dict[str, Any], self.conn.describe_training_job(TrainingJobName=name))

    def stop(self, kind: JobKind, name: str) -> None:
        """Stop a running job."""
        if kind == "processing":
            self.conn.stop_processing_job(ProcessingJobName=name)
        else:
            self.conn.stop_training_job(TrainingJobName=name)

    def training_result(self, description: dict[str, Any]) -> dict[str, Any]:
        """``result.json`` out of a finished training job's ``output.tar.gz``: ids, digests and a few figures."""
        name, root = description["TrainingJobName"], description["OutputDataConfig"]["S3OutputPath"]
        location = urlsplit(f"{root.rstrip('/')}/{name}/output/output.tar.gz")
        s3 = S3Hook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
        content = s3.get_key(location.path.lstrip("/"), location.netloc).get()["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            member = next(m for m in tar.getmembers() if m.name.removeprefix("./") == "result.json")
            extracted = tar.extractfile(member)
            assert extracted is not None
            return cast(dict[str, Any], json.load(extracted))
