"""Reads the online stores for one ranking request: one MGET to Redis, beside it BatchGetItem to DynamoDB.

A store that does not answer in time costs a request its features, never the request: registry defaults are served,
counted and logged. Slow-changing DynamoDB rows are kept in process for some seconds, and longer while DynamoDB is down.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from redis.exceptions import RedisError

from adrank.contracts.online_layout import dynamodb_key, redis_key
from adrank.contracts.registry import Entity, FeatureGroup, Registry
from adrank.online.vectors import GroupDecoder, GroupRows
from adrank.runtime.rate_limited_log import RateLimitedLogger

_LOG: Final = logging.getLogger(__name__)
_BATCH: Final = 100
_JITTER_SECONDS: Final = 0.01
_CACHE_ROWS: Final = 200_000
_THROTTLED: Final = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}

Packed = dict[str, bytes | None]


class StoreUnavailableError(RuntimeError):
    """An online store did not answer within its time."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Rows by group, aligned with the ids asked for, and the groups whose store failed."""

    rows: Mapping[str, GroupRows]
    outages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DynamoDBPolicy:
    """How long DynamoDB may take for one request in all, and how long its rows are kept in process (seconds).

    ``consistent`` reads see every write that was acknowledged before, and cost twice as much.
    """

    timeout_seconds: float = 0.2
    cache_seconds: float = 5.0
    consistent: bool = False


class OnlineReader:
    """Thread-safe. ``redis`` and ``dynamodb`` are clients with their own, short, socket timeouts."""

    def __init__(
        self,
        registry: Registry,
        redis: Any,
        dynamodb: Any,
        table: str,
        policy: DynamoDBPolicy | None = None,
        *,
        threads: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._dynamodb = _DynamoDBRows(dynamodb, table, policy or DynamoDBPolicy(), threads, clock)
        self._decoders = {g.name: GroupDecoder(g) for g in registry.groups}
        self._log = RateLimitedLogger(_LOG)
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def fetch(
        self,
        groups: Sequence[FeatureGroup],
        ids: Mapping[Entity, Sequence[str | None]],
        event_time: datetime | None = None,
    ) -> FetchResult:
        """Rows of ``groups`` for the entities ``ids`` (aligned lists, repeats welcome; ``None`` has no row)."""
        in_redis = [g for g in groups if g.store == "redis"]
        in_dynamodb = [g for g in groups if g.store == "dynamodb"]
        pending = self._dynamodb.begin([dynamodb_key(g, e) for g in in_dynamodb for e in _distinct(ids[g.entity])])
        failed: list[FeatureGroup] = []
        found: Packed = {}
        try:
            found |= self._mget([redis_key(g, e) for g in in_redis for e in _distinct(ids[g.entity])])
        except StoreUnavailableError as error:
            self._log.warning("redis", f"serving defaults of {_names(in_redis)}: {error}")
            failed += in_redis
        try:
            pending.join()
        except StoreUnavailableError as error:
            self._log.warning("dynamodb", f"serving defaults of {_names(in_dynamodb)} where none is kept: {error}")
            failed += in_dynamodb
        found |= pending.rows

        seconds = None if event_time is None else event_time.timestamp()
        rows = {g.name: self._decode(g, ids[g.entity], found, seconds) for g in groups}
        outages = tuple(g.name for g in failed)
        self._count(rows, outages)
        return FetchResult(rows, outages)

    def counters(self) -> dict[str, int]:
        """Running totals since start: ``<group>.<rows|missing|stale|mismatched|outages>``."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Stop the threads that wait for DynamoDB."""
        self._dynamodb.close()

    def _mget(self, keys: list[str]) -> Packed:
        if not keys:
            return {}
        try:
            return dict(zip(keys, self._redis.mget(keys), strict=True))
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error

    def _decode(
        self, group: FeatureGroup, ids: Sequence[str | None], found: Packed, event_time: float | None
    ) -> GroupRows:
        key = redis_key if group.store == "redis" else dynamodb_key
        packed = [None if e is None else found.get(key(group, e)) for e in ids]
        rows = self._decoders[group.name].decode(packed, event_time)
        if rows.mismatched.any():
            self._log.warning(
                group.name,
                f"{int(rows.mismatched.sum())} rows were packed with another layout than "
                f"{group.fingerprint[:16]} ({', '.join(group.names)}); serving defaults",
            )
        return rows

    def _count(self, rows: Mapping[str, GroupRows], outages: Sequence[str]) -> None:
        with self._lock:
            for name, group in rows.items():
                self._counts[f"{name}.rows"] += len(group.missing)
                self._counts[f"{name}.missing"] += int(group.missing.sum())
                self._counts[f"{name}.stale"] += int(group.stale.sum())
                self._counts[f"{name}.mismatched"] += int(group.mismatched.sum())
            for name in outages:
                self._counts[f"{name}.outages"] += 1


class _PendingRows:
    """DynamoDB rows on their way. ``rows`` holds what is there now; :meth:`join` waits for the rest."""

    def __init__(self, rows: Packed, futures: Sequence[Future[Packed]], deadline: float, budget: float) -> None:
        self.rows = rows
        self._futures = futures
        self._deadline = deadline
        self._budget = budget

    def join(self) -> None:
        """Wait until the deadline; what came is in ``rows`` even when this raises."""
        if not self._futures:
            return
        done, late = wait(self._futures, timeout=max(0.0, self._deadline - time.monotonic()))
        for future in late:
            future.cancel()
        errors = [error for future in done if (error := future.exception()) is not None]
        for future in done:
            if future.exception() is None:
                self.rows |= future.result()
        if errors:
            raise StoreUnavailableError(f"{type(errors[0]).__name__}: {errors[0]}") from errors[0]
        if late:
            raise StoreUnavailableError(f"no answer within {self._budget:g} s")


class _DynamoDBRows:
    """Packed rows by key, through an in-process cache that also knows which keys have no row."""

    def __init__(
        self, client: Any, table: str, policy: DynamoDBPolicy, threads: int, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._table = table
        self._policy = policy
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dynamodb")
        self._cache: dict[str, tuple[float, bytes | None]] = {}
        self._lock = Lock()

    def begin(self, keys: Sequence[str]) -> _PendingRows:
        """Start reading what the cache does not hold; meanwhile ``rows`` has old rows of expired keys."""
        now = self._clock()
        rows: Packed = {}
        wanted = []
        for key in keys:
            until, packed = self._cache.get(key, (now, None))
            rows[key] = packed
            if until <= now:
                wanted.append(key)
        deadline = time.monotonic() + self._policy.timeout_seconds
        futures = [self._pool.submit(self._get, batch, deadline) for batch in _batches(wanted)]
        return _PendingRows(rows, futures, deadline, self._policy.timeout_seconds)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _get(self, keys: list[str], deadline: float) -> Packed:
        """One BatchGetItem, asking again (with jitter) for what DynamoDB left unprocessed, until the deadline."""
        rows: Packed = dict.fromkeys(keys)
        request: dict[str, Any] = {
            self._table: {
                "Keys": [{"entity_id": {"S": key}} for key in keys],
                "ProjectionExpression": "entity_id, packed",
                "ConsistentRead": self._policy.consistent,
            }
        }
        while request:
            try:
                response = self._client.batch_get_item(RequestItems=request)
            except (ClientError, BotoCoreError) as error:
                if not _is_transient(error) or not _pause_until(deadline):
                    raise
                continue
            for item in response["Responses"].get(self._table, []):
                rows[item["entity_id"]["S"]] = item["packed"]["B"]
            request = response.get("UnprocessedKeys") or {}
            if request and not _pause_until(deadline):
                raise StoreUnavailableError("keys left unprocessed at the deadline")
        self._keep(rows)
        return rows

    def _keep(self, rows: Packed) -> None:
        until = self._clock() + self._policy.cache_seconds
        with self._lock:
            for key, packed in rows.items():
                self._cache.pop(key, None)
                self._cache[key] = (until, packed)
            while len(self._cache) > _CACHE_ROWS:
                del self._cache[next(iter(self._cache))]


def _is_transient(error: ClientError | BotoCoreError) -> bool:
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        return status >= 500 or error.response["Error"]["Code"] in _THROTTLED
    return True


def _pause_until(deadline: float) -> bool:
    """Sleep for a random moment; False when that would pass the deadline."""
    pause = random.uniform(0.2, 1.0) * _JITTER_SECONDS  # noqa: S311  spreads load, guards nothing
    if time.monotonic() + pause >= deadline:
        return False
    time.sleep(pause)
    return True


def _distinct(ids: Sequence[str | None]) -> Iterator[str]:
    return (e for e in dict.fromkeys(ids) if e is not None)


def _batches(keys: Sequence[str]) -> Iterator[list[str]]:
    return (list(keys[start : start + _BATCH]) for start in range(0, len(keys), _BATCH))


def _names(groups: Sequence[FeatureGroup]) -> str:
    return ", ".join(g.name for g in groups)
