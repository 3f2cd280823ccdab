"""Wait for one piece of AWS work (an EMR step, a SageMaker job, an endpoint) until it ends or its deadline passes.

The deadline is absolute: a restart of the triggerer or a retry of the task does not buy more time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

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


class AwsWorkTrigger(BaseTrigger):
    """Fires ``{"status": <final status>}`` or ``{"status": "deadline"}``.

    :param kind: what is waited for.
    :param reference: the arguments of its describe call (``ClusterId``/``StepId``, a job's or an endpoint's name).
    :param deadline: ISO time after which waiting is given up.
    :param poll_seconds: pause between two looks.
    :param settle_seconds: pause before the first, until the scheduler has noted that the task deferred; a trigger that
        fires sooner has its task failed by the executor's late report (apache/airflow #72716).
    """

    def __init__(
        self,
        kind: WorkKind,
        reference: dict[str, str],
        deadline: str,
        poll_seconds: float,
        settle_seconds: float,
        aws_conn_id: str,
        region_name: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = kind
        self.reference = reference
        self.deadline = deadline
        self.poll_seconds = poll_seconds
        self.settle_seconds = settle_seconds
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer that takes over."""
        fields = ("kind", "reference", "deadline", "poll_seconds", "settle_seconds", "aws_conn_id", "region_name")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the work has ended; an AWS error is logged and looked past until the deadline."""
        work, deadline = _KINDS[self.kind], datetime.fromisoformat(self.deadline)
        await asyncio.sleep(self.settle_seconds)
        async with await self._client() as client:
            while True:
                try:
                    status = await self._status(client, work)
                except (BotoCoreError, ClientError) as error:
                    self.log.warning("%s of %s: %s", work.describe, self.reference, error)
                else:
                    if status in work.ended:
                        yield TriggerEvent({"status": status})
                        return
                if datetime.now(UTC) >= deadline:
                    yield TriggerEvent({"status": "deadline"})
                    return
                await asyncio.sleep(self.poll_seconds)

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
        async with await self._client() as client:
            await getattr(client, work.cancel)(**arguments)

    async def _client(self) -> Any:
        hook = AwsBaseHook(
            aws_conn_id=self.aws_conn_id, region_name=self.region_name, client_type=_KINDS[self.kind].service
        )
        return await hook.get_async_conn()

    async def _status(self, client: Any, work: _Work) -> str:
        answer = await getattr(client, work.describe)(**self.reference)
        for step in work.status_path:
            answer = answer[step]
        return str(answer)
