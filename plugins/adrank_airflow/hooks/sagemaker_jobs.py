"""SageMaker processing and training jobs, submitted once per try however often a task is retried.

SageMaker never forgets a job name. A job is therefore called ``<base>-<n>``; an earlier try's live job is found by
its base.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

JobKind = Literal["processing", "training"]


def name_field(kind: JobKind) -> str:
    """What SageMaker calls the name of such a job."""
    return f"{kind.capitalize()}JobName"


def failure_reason(description: dict[str, Any]) -> str:
    """Why a job that SageMaker so describes did not complete."""
    return str(description.get("FailureReason") or description.get("ExitMessage") or "no reason given")


class SageMakerJobsHook(SageMakerHook):
    """Jobs by base name."""

    def __init__(self, aws_conn_id: str, region_name: str) -> None:
        super().__init__(aws_conn_id=aws_conn_id, region_name=region_name)  # type: ignore[no-untyped-call]

    def attach_or_submit(self, kind: JobKind, base: str, request: Callable[[str], dict[str, Any]]) -> str:
        """Name of the live job of that base, or else of the next, created as ``request`` asks of its name."""
        tries = self.tries(kind, base)
        live = sorted(number for number, status in tries.items() if status == "InProgress")
        if live:
            name = f"{base}-{live[0]}"
            self.log.info("Attached to %s job %s, which an earlier try submitted", kind, name)
        else:
            name = f"{base}-{max(tries, default=0) + 1}"
            getattr(self.conn, f"create_{kind}_job")(**request(name))
            self.log.info("Submitted %s job %s", kind, name)
        return name

    def tries(self, kind: JobKind, base: str) -> dict[int, str]:
        """Number -> status of every job of that base."""
        pages = self.conn.get_paginator(f"list_{kind}_jobs").paginate(NameContains=base)
        summaries = (job for page in pages for job in page[f"{kind.capitalize()}JobSummaries"])
        found = {
            job[name_field(kind)].removeprefix(f"{base}-"): job[f"{kind.capitalize()}JobStatus"] for job in summaries
        }
        return {int(number): status for number, status in found.items() if number.isdigit()}

    def describe(self, kind: JobKind, name: str) -> dict[str, Any]:
        """The job as SageMaker describes it."""
        return cast(dict[str, Any], getattr(self.conn, f"describe_{kind}_job")(**{name_field(kind): name}))

    def stop(self, kind: JobKind, name: str) -> None:
        """Stop a running job."""
        getattr(self.conn, f"stop_{kind}_job")(**{name_field(kind): name})

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
