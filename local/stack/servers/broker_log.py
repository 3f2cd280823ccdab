"""The broker's log as it lies in its bucket: a batch of records is one object, named after its first record's offset.

The broker knows no retention (``retention.ms`` is kept and ignored) and dies of a DeleteRecords request, so what is no
longer needed is deleted here. That is safe beside a broker that runs: it asks the bucket, not its memory, which batches
there are, and writes its watermarks with If-Match, so that it sees when somebody else has moved one.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from adrank.storage.object_store import ObjectStore, ObjectStoreError

CLUSTER: Final = "tansu_cluster"
_DELETED_AT_ONCE: Final = 1000


class BrokerLogError(RuntimeError):
    """The bucket refused a call, or the broker wrote the watermark at the same moment: try again later."""


class BrokerLog:
    """One topic's batches. ``s3`` is a boto3 client of the broker's object store."""

    def __init__(self, s3: Any, bucket: str, topic: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._store = ObjectStore(bucket, s3)
        self._topic = topic

    def base_offsets(self, partition: int) -> list[int]:
        """The first offset of each batch, ascending."""
        prefix = self._batches(partition)
        with _explained(f"listing s3://{self._bucket}/{prefix}"):
            return [int(key.removeprefix(prefix).removesuffix(".batch")) for key in self._store.keys(prefix)]

    def delete_before(self, partition: int, offset: int) -> int:
        """Delete the batches in which all records lie before ``offset``; returns how many.

        The last batch stays, whatever it holds: the broker tells the log's end by it. The low watermark moves first, so
        that nobody who starts at the log's begin is led to what is being deleted.
        """
        bases = self.base_offsets(partition)
        kept = max(bisect_right(bases, offset) - 1, 0)
        if kept:
            self._raise_low_watermark(partition, bases[kept])
            self._delete([f"{self._batches(partition)}{base:020}.batch" for base in bases[:kept]])
        return kept

    def _raise_low_watermark(self, partition: int, offset: int) -> None:
        key = f"{self._partition(partition)}watermark.json"
        with _explained(f"moving the low watermark in s3://{self._bucket}/{key}"):
            found = self._store.find_version(key)
            if found is None:
                raise BrokerLogError(f"s3://{self._bucket}/{key} is not there: is the topic?")
            watermark = json.loads(found.body)
            if (watermark["low"] or 0) < offset:
                self._store.put_if_match(key, json.dumps(watermark | {"low": offset}).encode(), found.etag)

    def _delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[start : start + _DELETED_AT_ONCE]]
            with _explained(f"deleting {len(objects)} batches from {objects[0]['Key']} on"):
                self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})

    def _partition(self, partition: int) -> str:
        return f"clusters/{CLUSTER}/topics/{self._topic}/partitions/{partition:010}/"

    def _batches(self, partition: int) -> str:
        return f"{self._partition(partition)}records/"


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError, ObjectStoreError) as error:
        raise BrokerLogError(f"{doing} failed: {error}") from error
