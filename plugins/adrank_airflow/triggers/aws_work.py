"""Wait for one piece of AWS work (an EMR step, a SageMaker job, an endpoint) until it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from adrank_airflow.triggers.patient import PatientTrigger

WorkKind = Literal["emr_step", "processing", "training", "endpoint"]


@dataclass(frozen=True)
class _Work:
    service: str
    describe: str
    status_path: tuple[str, ...]
    ended: frozenset[str]
    cancel: str | None = None


_KINDS: Final[dict[WorkKind, _Work]] = {
    "emr_step": _Work(
        "emr",
        "describe_step",
        ("Step", "Status", "State"),
        frozenset({"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}),
        "cancel_steps",
    ),
    "processing": _Work(
        "sagemaker",
        "describe_processing_job",
        ("ProcessingJobStatus",),
        frozenset({"Completed", "Failed", "Stopped"}),
        "stop_processing_job",
    ),
    "training": _Work(
        "sagemaker",
        "describe_training_job",
        ("TrainingJobStatus",),
        frozenset({"Completed", "Failed", "Stopped"}),
        "stop_training_job",
    ),
    "endpoint": _Work(
        "sagemaker",
        "describe_endpoint",
        ("EndpointStatus",),
        frozenset({"InService", "Failed", "OutOfService", "UpdateRollbackFailed"}),
    ),
}


class AwsWorkTrigger(PatientTrigger):
    """Fires ``{"status": <final status>}`` or ``{"status": "deadline"}``.

    :param kind: what is waited for.
    :param reference: the arguments of its describe call (``ClusterId``/``StepId``, a job's or an endpoint's name).
    """

    own_fields = ("kind", "reference")

    def __init__(self, kind: WorkKind, reference: dict[str, str], **waiting: Any) -> None:
        super().__init__(**waiting)
        self.kind = kind
        self.reference = reference

    @property
    def service(self) -> str:
        """The service that does the work."""
        return _KINDS[self.kind].service

    async def look(self, client: Any) -> dict[str, Any] | None:
        """The work's status, once it has ended."""
        work = _KINDS[self.kind]
        answer = await getattr(client, work.describe)(**self.reference)
        for step in work.status_path:
            answer = answer[step]
        return {"status": str(answer)} if answer in work.ended else None

    async def on_kill(self) -> None:
        """Cancel the work when a person kills the waiting task."""
        work = _KINDS[self.kind]
        if work.cancel is None:
            return
        arguments: dict[str, Any] = dict(self.reference)
        if self.kind == "emr_step":
            arguments = {
                "ClusterId": self.reference["ClusterId"],
                "StepIds": [self.reference["StepId"]],
                "StepCancellationOption": "TERMINATE_PROCESS",
            }
        async with await self.client() as client:
            await getattr(client, work.cancel)(**arguments)
