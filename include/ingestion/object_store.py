"""One bucket through the S3 API: the few calls that landing needs, safe to share between threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class ObjectStoreError(RuntimeError):
    """The bucket refused a call; the message names bucket, key and reason."""


class ObjectStore:
    """Objects of one bucket. Build it with :meth:`connect`, or around a boto3 S3 client that is already there."""

    def __init__(self, bucket: str, client: Any) -> None:
        self.bucket = bucket
        self._client = client

    @classmethod
    def connect(cls, bucket: str, *, region: str | None = None, connections: int = 16) -> ObjectStore:
        """Connect with the process's credentials; ``connections`` bounds the calls in flight at once."""
        import boto3
        from botocore.config import Config

        config = Config(max_pool_connections=connections, retries={"mode": "standard", "max_attempts": 5})
        return cls(bucket, boto3.client("s3", region_name=region, config=config))

    def put(self, key: str, body: bytes) -> None:
        """Write one object, replacing what was there."""
        self._call("put_object", key, Body=body)

    def get(self, key: str) -> bytes:
        """The bytes of one object."""
        content: bytes = self._call("get_object", key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys under ``prefix``, in the store's order."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", ()):
                yield item["Key"]

    def _call(self, operation: str, key: str, **arguments: object) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(Bucket=self.bucket, Key=key, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreError(f"{operation} of s3://{self.bucket}/{key} failed: {error}") from error
