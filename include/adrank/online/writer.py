"""Writes feature rows to the online stores: newer wins, writing twice changes nothing, throttling is waited out."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Protocol, Self

from adrank.contracts.online_layout import dynamodb_key, pack, redis_key
from adrank.contracts.registry import FeatureGroup

Row = tuple[str, tuple[float, ...]]

_REDIS_BATCH: Final = 1000
_DYNAMODB_THREADS: Final = 8
_DYNAMODB_BATCH: Final = 256
_THROTTLED: Final = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}
_TRIES: Final = 10
_FIRST_PAUSE: Final = 0.05

# KEYS: rows; ARGV: seconds to live, then one packed value per key, whose bytes 9-16 are its as-of time. A row as old as
# the one that is there is written again, not refused.
_NEWER_WINS: Final = """
local written = 0
for i, key in ipairs(KEYS) do
  local there = redis.call('GETRANGE', key, 8, 15)
  if there == '' or struct.unpack('>i8', there) <= struct.unpack('>i8', ARGV[i + 1], 9) then
    redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1])
    written = written + 1
  end
end
return written
"""


class ThrottledError(RuntimeError):
    """DynamoDB kept throttling longer than the writer was willing to wait."""


@dataclass(frozen=True)
class Pushed:
    """Rows offered to a store, written, and left out because a newer row was there."""

    offered: int = 0
    written: int = 0

    @property
    def stale(self) -> int:
        """Rows that lost to a newer one."""
        return self.offered - self.written

    def __add__(self, other: Pushed) -> Pushed:
        return Pushed(self.offered + other.offered, self.written + other.written)


class OnlineWriter(Protocol):
    """One online store."""

    def push(self, group: FeatureGroup, as_of: datetime, rows: Iterable[Row]) -> Pushed:
        """Write a group's rows as of the end of an hour."""
        ...


class RedisWriter:
    """Packed values under ``f:<group>:<entity>``, in scripts of a thousand rows."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._newer_wins = client.register_script(_NEWER_WINS)

    @classmethod
    def connect(cls, host: str, port: int, tls: bool) -> Self:
        """A writer on one Redis."""
        import redis

        return cls(redis.Redis(host=host, port=port, ssl=tls, socket_timeout=30))

    def push(self, group: FeatureGroup, as_of: datetime, rows: Iterable[Row]) -> Pushed:
        """Write a group's rows as of the end of an hour."""
        seconds = int(timedelta(hours=group.ttl_hours).total_seconds())
        offered = written = 0
        for batch in _batches(rows, _REDIS_BATCH):
            keys = [redis_key(group, entity) for entity, _ in batch]
            packed = [pack(group, as_of, values) for _, values in batch]
            written += int(self._newer_wins(keys=keys, args=[seconds, *packed]))
            offered += len(batch)
        return Pushed(offered, written)


class DynamoDBWriter:
    """One conditional PutItem per row; BatchWriteItem takes no condition."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    @classmethod
    def connect(cls, table: str, region: str) -> Self:
        """A writer on one table."""
        import boto3
        from botocore.config import Config

        config = Config(max_pool_connections=_DYNAMODB_THREADS, retries={"total_max_attempts": 1})
        return cls(boto3.client("dynamodb", region_name=region, config=config), table)

    def push(self, group: FeatureGroup, as_of: datetime, rows: Iterable[Row]) -> Pushed:
        """Write a group's rows as of the end of an hour."""
        expires = int((as_of + timedelta(hours=group.ttl_hours)).timestamp())
        offered = written = 0

        def put(row: Row) -> bool:
            return self._put(dynamodb_key(group, row[0]), pack(group, as_of, row[1]), int(as_of.timestamp()), expires)

        with ThreadPoolExecutor(_DYNAMODB_THREADS) as threads:
            for batch in _batches(rows, _DYNAMODB_BATCH):
                written += sum(threads.map(put, batch))
                offered += len(batch)
        return Pushed(offered, written)

    def _put(self, key: str, packed: bytes, as_of: int, expires: int) -> bool:
        item = {
            "entity_id": {"S": key},
            "packed": {"B": packed},
            "as_of": {"N": str(as_of)},
            "expires_at": {"N": str(expires)},
        }
        for attempt in range(_TRIES):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(entity_id) OR as_of <= :as_of",
                    ExpressionAttributeValues={":as_of": {"N": str(as_of)}},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in _THROTTLED:
                    raise
                time.sleep(_FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
            else:
                return True
        raise ThrottledError(f"table {self._table} throttled {key} {_TRIES} times in a row")


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch
