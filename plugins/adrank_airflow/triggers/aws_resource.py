"""Wait for one piece of AWS work (an EMR step, a SageMaker job, an endpoint) until it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from adrank_airflow.triggers.polling import PollingTrigger

ResourceKind = Literal["emr_step", "processing", "training", "endpoint"]


@dataclass(frozen=True)
class _ResourceApi:
    service: str
    describe: str
    status_path: tuple[str, ...]
    done: str
    failed: frozenset[str]
    cancel: str | None = None


def _job(kind: Literal["processing", "training"]) -> _ResourceApi:
    return _ResourceApi(
        "sagemaker",
        f"describe_{kind}_job",
        (f"{kind.capitalize()}JobStatus",),
        "Completed",
        frozenset({"Failed", "Stopped"}),
        f"stop_{kind}_job",
    )


_APIS: Final[dict[ResourceKind, _ResourceApi]] = {
    "emr_step": _ResourceApi(
        "emr",
        "describe_step",
        ("Step", "Status", "State"),
        "COMPLETED",
        frozenset({"FAILED", "CANCELLED", "INTERRUPTED"}),
        "cancel_steps",
    ),
    "processing": _job("processing"),
    "training": _job("training"),
    "endpoint": _ResourceApi(
        "sagemaker",
        "describe_endpoint",
        ("EndpointStatus",),
        "InService",
        frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"}),
    ),
}


class AwsResourceTrigger(PollingTrigger):
    """Fires ``{"status": <final status>}`` or ``{"status": "deadline"}``.

    :param kind: what is waited for.
    :param reference: the arguments of its describe call (``ClusterId``/``StepId``, a job's or an endpoint's name).
    :param result: what the task returns when the work ended well. The task then ends here, and no worker starts only
        to say so; Airflow then makes no events of the task's outlets.
    """

    arguments = ("kind", "reference", "result")

    def __init__(
        self, kind: ResourceKind, reference: dict[str, str], result: dict[str, str] | None = None, **waiting: Any
    ) -> None:
        super().__init__(**waiting)
        self.kind = kind
        self.reference = reference
        self.result = result

    @property
    def service(self) -> str:
        """The service that does the work."""
        return _APIS[self.kind].service

    async def poll(self, client: Any) -> dict[str, Any] | None:
        """The work's status, once it has ended."""
        api = _APIS[self.kind]
        status = await getattr(client, api.describe)(**self.reference)
        for name in api.status_path:
            status = status[name]
        return {"status": str(status)} if status == api.done or status in api.failed else None

    def event(self, happened: dict[str, Any]) -> TriggerEvent:
        """Success of the task itself, where that is all there is to say."""
        if self.result is not None and happened["status"] == _APIS[self.kind].done:
            return TaskSuccessEvent(xcoms={"return_value": dict(self.result)})
        return super().event(happened)

    async def on_kill(self) -> None:
        """Cancel the work when a person kills the waiting task."""
        api = _APIS[self.kind]
        if api.cancel is None:
            return
        arguments: dict[str, Any] = dict(self.reference)
        if self.kind == "emr_step":
            arguments = {
                "ClusterId": self.reference["ClusterId"],
                "StepIds": [self.reference["StepId"]],
                "StepCancellationOption": "TERMINATE_PROCESS",
            }
        async with await self.client() as client:
            await getattr(client, api.cancel)(**arguments)
