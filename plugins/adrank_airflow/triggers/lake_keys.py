"""Wait until every one of a list of lake keys exists, or an absolute deadline passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError


class LakeKeysTrigger(BaseTrigger):
    """Fires ``{"status": "ready"}``, or ``{"status": "deadline", "missing": [first keys still missing]}``.

    ``settle_seconds`` pass before the first look, as in :class:`adrank_airflow.triggers.aws_work.AwsWorkTrigger`.
    """

    def __init__(
        self,
        bucket: str,
        keys: list[str],
        deadline: str,
        poll_seconds: float,
        settle_seconds: float,
        aws_conn_id: str,
        region_name: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bucket = bucket
        self.keys = keys
        self.deadline = deadline
        self.poll_seconds = poll_seconds
        self.settle_seconds = settle_seconds
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer that takes over."""
        fields = ("bucket", "keys", "deadline", "poll_seconds", "settle_seconds", "aws_conn_id", "region_name")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the keys in order, remembering those that were there."""
        deadline, missing = datetime.fromisoformat(self.deadline), list(self.keys)
        await asyncio.sleep(self.settle_seconds)
        hook = AwsBaseHook(aws_conn_id=self.aws_conn_id, region_name=self.region_name, client_type="s3")
        async with await hook.get_async_conn() as client:
            while True:
                try:
                    while missing and await self._exists(client, missing[0]):
                        missing.pop(0)
                except BotoCoreError as error:
                    self.log.warning("%s: %s", self.bucket, error)
                if not missing:
                    yield TriggerEvent({"status": "ready"})
                    return
                if datetime.now(UTC) >= deadline:
                    yield TriggerEvent({"status": "deadline", "missing": missing[:5]})
                    return
                await asyncio.sleep(self.poll_seconds)

    async def _exists(self, client: Any, key: str) -> bool:
        try:
            await client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status != 404:
                self.log.warning("s3://%s/%s: %s", self.bucket, key, error)
            return False
        return True
