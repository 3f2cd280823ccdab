"""Both online stores as an audit looks at them: through the reader that serves, with time to answer, and key by key;
and the few offline rows that it compares with what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import boto3
import numpy as np
import redis
from botocore.config import Config
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import registry
from adrank.contracts.registry import FeatureGroup
from adrank.online import scan
from adrank.online.reader import DynamoDBPolicy, OnlineReader, StoreUnavailableError
from adrank.online.vectors import GroupRows, Matrix

_TIMEOUT_SECONDS: Final = 60.0
_THREADS: Final = 4
_BATCH: Final = 1000


class StoredRows:
    """Redis and the DynamoDB table of the features."""

    def __init__(self, host: str, port: int, tls: bool, table: str, region: str) -> None:
        self._redis = redis.Redis(host=host, port=port, ssl=tls, socket_timeout=_TIMEOUT_SECONDS)
        config = Config(max_pool_connections=_THREADS, retries={"mode": "standard"})
        self._dynamodb = boto3.client("dynamodb", region_name=region, config=config)
        self._table = table
        policy = DynamoDBPolicy(timeout_seconds=_TIMEOUT_SECONDS, cache_seconds=0, consistent=True)
        self._reader = OnlineReader(registry.load(), self._redis, self._dynamodb, table, policy, threads=_THREADS)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._reader.close()
        self._redis.close()
        self._dynamodb.close()

    def rows(self, group: FeatureGroup, entities: Sequence[str], moment: datetime) -> GroupRows:
        """What a request at ``moment`` would be served, in order.

        :raises StoreUnavailableError: the store did not answer, which is an outage and no skew
        """
        starts = range(0, max(len(entities), 1), _BATCH)
        read = [self._batch(group, entities[start : start + _BATCH], moment) for start in starts]
        return GroupRows(
            values=np.concatenate([rows.values for rows in read]),
            missing=np.concatenate([rows.missing for rows in read]),
            stale=np.concatenate([rows.stale for rows in read]),
            mismatched=np.concatenate([rows.mismatched for rows in read]),
            as_of=np.concatenate([rows.as_of for rows in read]),
        )

    def scan(self, sample: int, cursors: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, str]]:
        """Entities met, by group: about ``sample`` for each group of a store. And the cursors from which to go on."""
        in_redis, in_dynamodb = registry.load().in_store("redis"), registry.load().in_store("dynamodb")
        redis_keys, at_redis = scan.redis_keys(self._redis, sample * len(in_redis), cursors.get("redis", ""))
        items, at_dynamodb = scan.dynamodb_keys(
            self._dynamodb, self._table, sample * len(in_dynamodb), cursors.get("dynamodb", "")
        )
        met = scan.by_group(redis_keys, in_redis) | scan.by_group(items, in_dynamodb)
        return met, {"redis": at_redis, "dynamodb": at_dynamodb}

    def _batch(self, group: FeatureGroup, entities: Sequence[str], moment: datetime) -> GroupRows:
        ids: Any = {group.entity: list(entities)}
        fetched = self._reader.fetch([group], ids, moment)
        if fetched.outages:
            raise StoreUnavailableError(f"{group.store} did not answer for {group.name}")
        return fetched.rows[group.name]


def sample(rows: DataFrame, group: FeatureGroup, size: int, seed: int) -> tuple[list[str], Matrix]:
    """Entity ids and values [n, features] of at most ``size`` rows: another spread of entities for every ``seed``."""
    order = F.xxhash64("entity_id", F.lit(seed))
    found = rows.select("entity_id", *group.names).orderBy(order, "entity_id").limit(size).collect()
    values = matrix(row[1:] for row in found)
    return [row[0] for row in found], values.reshape(len(found), len(group.names))


def without_row(rows: DataFrame, entities: Sequence[str]) -> list[str]:
    """Those of ``entities`` that have no row, in order."""
    if not entities:
        return []
    wanted = rows.sparkSession.createDataFrame([(entity,) for entity in entities], "entity_id string")
    present = rows.select("entity_id").join(F.broadcast(wanted), "entity_id", "left_semi").collect()
    found = {row[0] for row in present}
    return [entity for entity in entities if entity not in found]


def matrix(rows: Iterable[Iterable[float | None]]) -> Matrix:
    """float32 [rows, features]; null is NaN."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float32)
