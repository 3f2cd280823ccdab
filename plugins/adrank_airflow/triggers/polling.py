"""Poll AWS until something happened or an absolute deadline has passed.

The deadline is absolute: a restart of the triggerer or a retry of the task does not buy more time. The first poll comes
only after ``min_defer_seconds``, when the scheduler has noted that the task deferred; a trigger that fires sooner has
its task failed by the executor's late report (apache/airflow #72716).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from airflow.sdk import Context


def run_deadline(context: Context, timeout: timedelta) -> datetime:
    """``timeout`` after the DAG run began; every try of a task shares it."""
    started = context["dag_run"].start_date
    return (started or datetime.now(UTC)) + timeout


class PollingTrigger(BaseTrigger):
    """Fires what :meth:`poll` returns, or :meth:`timeout_event`.

    :param deadline: ISO time after which waiting is given up.
    :param poll_seconds: pause between two polls.
    :param min_defer_seconds: pause before the first.
    """

    #: The subclass's own arguments.
    arguments: ClassVar[tuple[str, ...]]

    def __init__(
        self, deadline: str, poll_seconds: float, min_defer_seconds: float, aws_conn_id: str, region_name: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deadline = deadline
        self.poll_seconds = poll_seconds
        self.min_defer_seconds = min_defer_seconds
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    @property
    @abstractmethod
    def service(self) -> str:
        """The AWS service that is polled."""

    @abstractmethod
    async def poll(self, client: Any) -> dict[str, Any] | None:
        """What happened, or nothing yet."""

    def timeout_event(self) -> dict[str, Any]:
        """What to fire at the deadline."""
        return {"status": "deadline"}

    def event(self, happened: dict[str, Any]) -> TriggerEvent:
        """What the task is resumed with."""
        return TriggerEvent(happened)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer that takes over."""
        fields = (*self.arguments, "deadline", "poll_seconds", "min_defer_seconds", "aws_conn_id", "region_name")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until something happened; an AWS error is logged and looked past until the deadline."""
        deadline = datetime.fromisoformat(self.deadline)
        await asyncio.sleep(self.min_defer_seconds)
        async with await self.client() as client:
            while True:
                try:
                    happened = await self.poll(client)
                except (BotoCoreError, ClientError) as error:
                    self.log.warning("%s: %s", self, error)
                    happened = None
                if happened is None and datetime.now(UTC) >= deadline:
                    happened = self.timeout_event()
                if happened is not None:
                    yield self.event(happened)
                    return
                await asyncio.sleep(self.poll_seconds)

    async def client(self) -> Any:
        """An asynchronous client of the service."""
        hook = AwsBaseHook(aws_conn_id=self.aws_conn_id, region_name=self.region_name, client_type=self.service)
        return await hook.get_async_conn()
