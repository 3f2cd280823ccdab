"""A push writes what changed, from where the rows are, and leaves no store torn unseen."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pyspark.sql import SparkSession
from redis import Redis

from adrank.contracts import lake, registry
from adrank.contracts.manifests import PushManifest
from adrank.contracts.online_layout import OnlineRow, redis_key, unpack
from adrank.online.push_state import REFRESH_SLICES, PushFencedError
from adrank.online.redis_writer import EvictingRedisError, RedisWriter
from spark.jobs.push_features import main
from spark.online import push
from tests.support.feature_lake import FeatureLake, Numbers, values
from tests.support.online_stores import RedisServer
from tests.support.spark_lake import BUCKET, TestLake, at

pytestmark = pytest.mark.spark

ADS = registry.load().group("ad_engagement")
NAMES = [f"ad{n}" for n in range(200)]
#: As many of the names as are written again at an hour whatever their values.
DUE = [sum(zlib.crc32(name.encode()) % REFRESH_SLICES == number for name in NAMES) for number in range(REFRESH_SLICES)]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[Redis]:
    client = Redis(port=redis_server.port)
    yield client
    client.close()


@pytest.fixture
def features(raw_lake: TestLake) -> FeatureLake:
    return FeatureLake(raw_lake.root)


class Pusher:
    """Pushes hours to Redis and reads what came of it."""

    def __init__(self, raw_lake: TestLake, client: Redis, port: int) -> None:
        self._lake = raw_lake
        self._client = client
        self._port = port

    def push(self, hour: int, *more: str, minute: int = 0) -> PushManifest:
        where = ["--redis-host", "127.0.0.1", "--redis-port", str(self._port), "--table", "none", "--region", "none"]
        retry = ["--retry-seconds", "20"]
        main(["--bucket", BUCKET, "--store", "redis", "--hour", at(hour, minute).isoformat(), *where, *retry, *more])
        return PushManifest.model_validate(self._lake.read_json(lake.PUSHES("redis").manifest(at(hour))))

    def rows(self) -> dict[str, OnlineRow]:
        """Every row of the group in Redis, by entity."""
        prefix = redis_key(ADS, "").encode()
        return {
            key.removeprefix(prefix).decode(): unpack(ADS, self._client.get(key) or b"")
            for key in self._client.scan_iter(match=prefix + b"*", count=1000)
        }

    def holds(self, numbers: Numbers) -> bool:
        found = {entity: row.values for entity, row in self.rows().items()}
        wanted = {entity: values(ADS, number) for entity, number in numbers.items()}
        return repr(sorted(found.items())) == repr(sorted(wanted.items()))


@pytest.fixture
def pusher(raw_lake: TestLake, spark: SparkSession, store: Redis, redis_server: RedisServer) -> Pusher:
    return Pusher(raw_lake, store, redis_server.port)


def ads(numbers: Numbers) -> Mapping[str, Numbers]:
    return {ADS.name: numbers}


def test_the_first_push_writes_all_and_the_next_only_what_differs_is_due_or_vanished(
    features: FeatureLake, pusher: Pusher
) -> None:
    first: dict[str, float | None] = {name: float(n) for n, name in enumerate(NAMES)}
    first["ad7"] = None
    features.hour(at(0), ads(first))
    one = pusher.push(0)
    assert (one.base, one.changed, one.refreshed, one.vanished) == (None, 200, 0, 0)
    assert one.offered == one.written == 200
    assert pusher.holds(first)

    second = {**first, "ad0": 1000.0, "ad1": None, "new": 5.0}
    del second["ad9"]
    features.hour(at(1), ads(second))
    two = pusher.push(1)
    assert (two.base, two.changed, two.vanished, two.stale) == (at(0), 3, 1, 0)
    touched = sum(zlib.crc32(name.encode()) % REFRESH_SLICES == 1 for name in ("ad0", "ad1", "ad9"))
    assert two.refreshed == DUE[1] - touched
    assert two.offered == two.written == 4 + two.refreshed
    defaults = tuple(feature.default_value for feature in ADS.features)
    rows = pusher.rows()
    assert repr(rows.pop("ad9")) == repr(OnlineRow(at(2), defaults)), "who vanished is served the defaults"
    assert {entity: repr(row.values) for entity, row in rows.items()} == {
        entity: repr(values(ADS, number)) for entity, number in second.items()
    }
    assert {row.as_of for row in rows.values()} == {at(1), at(2)}


def test_pushing_again_changes_nothing_and_an_old_hour_never_wins(
    features: FeatureLake, pusher: Pusher, capsys: pytest.CaptureFixture[str]
) -> None:
    for hour in (0, 1):
        features.hour(at(hour), ads({"a": hour, "b": 7, f"only at {hour}": 1}))
    summary = pusher.push(1)
    there = pusher.rows()
    assert pusher.push(1) == summary
    assert "is there already" in capsys.readouterr().out
    old = pusher.push(0)
    assert (old.superseded_by, old.written, old.stale) == (at(1), 0, 3)
    assert "nothing written" in capsys.readouterr().out
    assert pusher.rows() == there
    assert pusher.push(1, "--full").written == 3
    assert pusher.rows() == there


def test_a_moment_within_an_hour_names_the_hour(features: FeatureLake, pusher: Pusher) -> None:
    features.hour(at(0), ads({"a": 1}))
    assert pusher.push(0, minute=30).hour == at(0)
    assert pusher.rows() == {"a": OnlineRow(at(1), values(ADS, 1))}


def test_to_a_redis_that_evicts_nothing_is_pushed_and_nothing_called_done(
    features: FeatureLake, pusher: Pusher, store: Redis
) -> None:
    features.hour(at(0), ads({"a": 1}))
    pusher.push(0)
    store.config_set("maxmemory", "100mb")
    store.config_set("maxmemory-policy", "volatile-lru")
    try:
        with pytest.raises(EvictingRedisError, match="volatile-lru"):
            pusher.push(0)
    finally:
        store.config_set("maxmemory", "0")
        store.config_set("maxmemory-policy", "noeviction")


def test_a_corrected_hour_replaces_what_differs_and_what_is_gone(features: FeatureLake, pusher: Pusher) -> None:
    features.hour(at(5), ads({"a": 1, "b": 7, "gone": 1}))
    pusher.push(5)
    features.hour(at(5), ads({"a": 2, "b": 7}), revision=1)
    corrected = pusher.push(5)
    assert (corrected.base, corrected.changed, corrected.vanished) == (at(5), 1, 1)
    assert pusher.rows()["a"].values == values(ADS, 2)


def test_a_base_that_was_overwritten_is_no_base(features: FeatureLake, pusher: Pusher) -> None:
    features.hour(at(0), ads({"a": 1, "b": 7}))
    pusher.push(0)
    features.hour(at(0), ads({"a": 2, "b": 7}))
    features.hour(at(1), ads({"a": 2, "b": 7}))
    pusher.push(1)
    assert pusher.holds({"a": 2, "b": 7})


def dying(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Let something happen once, after the rows of a push were written and before it is called complete."""
    swap, happened = RedisWriter.swap, []

    def swapped(self: RedisWriter, old: Any, new: Any) -> bool:
        if new.complete is not None and not new.begun and not happened:
            happened.append(True)
            meanwhile()
        return swap(self, old, new)

    monkeypatch.setattr(RedisWriter, "swap", swapped)


class KilledError(RuntimeError):
    """Stands for the end of the process."""


def killed() -> None:
    raise KilledError


def test_a_push_that_died_is_finished_by_its_retry_or_made_good_by_the_next_hour(
    features: FeatureLake, pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    features.hour(at(0), ads({"a": 1, "b": 7}))
    features.hour(at(1), ads({"a": 2, "b": 7, "only then": 3}))
    features.hour(at(2), ads({"a": 1, "b": 7}))
    pusher.push(0)
    with monkeypatch.context() as patch:
        dying(patch, killed)
        with pytest.raises(KilledError):
            pusher.push(1)
    next_hour = pusher.push(2)
    assert (next_hour.base, next_hour.changed, next_hour.vanished) == (None, 2, 1), "a is as at 0, but 1 was written"
    assert pusher.rows()["a"] == OnlineRow(at(3), values(ADS, 1))
    assert pusher.rows()["only then"].values[0] == ADS.features[0].default_value

    features.hour(at(3), ads({"a": 5, "b": 7}))
    with monkeypatch.context() as patch:
        dying(patch, killed)
        with pytest.raises(KilledError):
            pusher.push(3)
    assert pusher.push(3).base == at(2)


def test_a_redis_that_was_emptied_in_mid_push_holds_everything_in_the_end(
    features: FeatureLake, pusher: Pusher, store: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    features.hour(at(0), ads(dict.fromkeys(NAMES, 1.0)))
    features.hour(at(1), ads({**dict.fromkeys(NAMES, 1.0), "ad0": 2.0}))
    pusher.push(0)
    dying(monkeypatch, lambda: bool(store.flushall()) and None)
    redone = pusher.push(1)
    assert (redone.base, redone.changed) == (None, 200)
    assert pusher.holds({**dict.fromkeys(NAMES, 1.0), "ad0": 2.0})


def test_a_push_that_was_taken_over_fails_and_does_not_call_itself_complete(
    features: FeatureLake, pusher: Pusher, raw_lake: TestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (0, 1):
        features.hour(at(hour), ads({"a": hour}))
    with monkeypatch.context() as patch:
        dying(patch, lambda: pusher.push(1) and None)
        with pytest.raises(PushFencedError):
            pusher.push(0)
    assert not raw_lake.path(lake.PUSHES("redis").manifest(at(0))).exists()
    assert pusher.rows() == {"a": OnlineRow(at(2), values(ADS, 1))}


def test_the_executors_have_what_they_need_from_the_archive_alone(
    features: FeatureLake, pusher: Pusher, store: Redis
) -> None:
    """The task is pickled: nothing in it may hold on to the driver."""
    from pyspark import cloudpickle

    from adrank.online.push_state import FencingToken
    from adrank.online.writer import DynamoDBAddress
    from adrank.runtime.retry import RetryUntil

    task = push.partition_writer(DynamoDBAddress("t", "r"), RetryUntil(0), FencingToken("t", 1), ADS, at(1))
    assert len(cloudpickle.dumps(task)) < 50_000
