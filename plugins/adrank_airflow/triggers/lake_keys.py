"""Wait until every one of a list of lake keys exists."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from adrank_airflow.triggers.polling import PollingTrigger


class LakeKeysTrigger(PollingTrigger):
    """Fires ``{"status": "ready"}``, or ``{"status": "deadline", "missing": [first keys still missing]}``."""

    arguments = ("bucket", "keys")

    def __init__(self, bucket: str, keys: list[str], **waiting: Any) -> None:
        super().__init__(**waiting)
        self.bucket = bucket
        self.keys = keys
        self._missing = list(keys)

    @property
    def service(self) -> str:
        """The object store."""
        return "s3"

    async def poll(self, client: Any) -> dict[str, Any] | None:
        """Look at the keys in order, remembering those that were there."""
        while self._missing and await self._exists(client, self._missing[0]):
            self._missing.pop(0)
        return None if self._missing else {"status": "ready"}

    def timeout_event(self) -> dict[str, Any]:
        """Name what is missing."""
        return {"status": "deadline", "missing": self._missing[:5]}

    async def _exists(self, client: Any, key: str) -> bool:
        try:
            await client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return False
        return True
