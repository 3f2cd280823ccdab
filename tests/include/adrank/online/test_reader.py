"""One request's rows from both stores, whatever state the stores are in."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from adrank.contracts import registry
from adrank.contracts.online_layout import pack
from adrank.contracts.registry import Entity
from adrank.online.reader import DynamoDBPolicy, OnlineReader
from tests.support.online_stores import AS_OF, TABLE, OnlineRows, RedisServer

REGISTRY = registry.load()
ADS: dict[Entity, list[str | None]] = {
    "ad": ["a1", "a2"],
    "seller": ["s1", "s1"],
    "user_category": ["u1|c1", "u1|c2"],
}
PATIENT = DynamoDBPolicy(timeout_seconds=5)


class CountingDynamoDB:
    """Passes BatchGetItem on, after ``before`` had its say: it may raise, or answer instead."""

    def __init__(self, client: Any, before: Callable[[int, dict[str, Any]], Any] = lambda call, items: None) -> None:
        self._client = client
        self._before = before
        self._lock = threading.Lock()
        self.requests: list[list[str]] = []

    def batch_get_item(self, RequestItems: dict[str, Any]) -> Any:  # noqa: N803
        with self._lock:
            self.requests.append([key["entity_id"]["S"] for key in RequestItems[TABLE]["Keys"]])
            call = len(self.requests)
        answer = self._before(call, RequestItems)
        return answer if answer is not None else self._client.batch_get_item(RequestItems=RequestItems)


def client(port: int, timeout: float = 5) -> Any:
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return Redis(port=port, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry)


@pytest.fixture
def make_reader(redis_server: RedisServer, dynamodb: Any) -> Iterator[Callable[..., OnlineReader]]:
    made = []

    def make(redis: Any = None, table_client: Any = dynamodb, **options: Any) -> OnlineReader:
        options.setdefault("policy", PATIENT)
        reader = OnlineReader(REGISTRY, redis or client(redis_server.port), table_client, TABLE, **options)
        made.append(reader)
        return reader

    yield make
    for reader in made:
        reader.close()


def fill(rows: OnlineRows) -> None:
    rows.put("ad_engagement", "a1", (10, 2, 1, 0.2))
    rows.put("ad_attributes", "a1", (5, -0.5, 0.9))
    rows.put("ad_engagement", "a2", (20, 4, 2, 0.2))
    rows.put("ad_attributes", "a2", (6, 0.5, float("nan")))
    rows.put("seller_stats", "s1", (3, 30, 3, 0.1))
    rows.put("user_affinity", "u1|c1", (6, 1, 0.6))


def throttled() -> ClientError:
    metadata = {"HTTPStatusCode": 400}
    error = {"Code": "ProvisionedThroughputExceededException", "Message": "slow down"}
    return ClientError({"Error": error, "ResponseMetadata": metadata}, "BatchGetItem")


def test_rows_of_every_group_come_in_candidate_order(
    make_reader: Callable[..., OnlineReader], rows: OnlineRows
) -> None:
    fill(rows)
    ids: dict[Entity, list[str | None]] = {
        "ad": ["a2", "a1", "a2"],
        "seller": ["s1", None, "s2"],
        "user_category": [None, "u1|c1", "u1|c2"],
    }
    fetched = make_reader().fetch(REGISTRY.groups, ids)
    engagement, attributes, seller, affinity = (fetched.rows[g.name] for g in REGISTRY.groups)
    assert engagement.values[:, 0].tolist() == [20, 10, 20]
    assert attributes.values[:, 0].tolist() == [6, 5, 6]
    assert np.isnan(attributes.values[0, 2]), "a missing value inside a row stays missing"
    assert seller.values[:, 0].tolist() == [3, 0, 0]
    assert seller.missing.tolist() == [False, True, True]
    assert affinity.values[:, 0].tolist() == [0, 6, 0]
    assert affinity.missing.tolist() == [True, False, True]
    assert fetched.outages == ()


def test_redis_is_asked_once_for_all_groups(
    make_reader: Callable[..., OnlineReader], redis_server: RedisServer
) -> None:
    redis = client(redis_server.port)
    redis.config_resetstat()
    make_reader(redis).fetch(REGISTRY.groups, ADS)
    assert redis.info("commandstats")["cmdstat_mget"]["calls"] == 1


def test_only_the_groups_asked_for_are_read(make_reader: Callable[..., OnlineReader], dynamodb: Any) -> None:
    counting = CountingDynamoDB(dynamodb)
    fetched = make_reader(table_client=counting).fetch([REGISTRY.group("ad_attributes")], ADS)
    assert set(fetched.rows) == {"ad_attributes"}
    assert counting.requests == []


def test_missing_and_stale_rows_are_counted(make_reader: Callable[..., OnlineReader], rows: OnlineRows) -> None:
    ttl = timedelta(hours=REGISTRY.group("ad_engagement").ttl_hours)
    rows.put("ad_engagement", "a1", (10, 2, 1, 0.2), as_of=AS_OF)
    reader = make_reader()
    groups = [REGISTRY.group("ad_engagement")]
    reader.fetch(groups, ADS, AS_OF + ttl)
    reader.fetch(groups, ADS, AS_OF + ttl + timedelta(seconds=1))
    counters = reader.counters()
    assert counters["ad_engagement.rows"] == 4
    assert counters["ad_engagement.missing"] == 2
    assert counters["ad_engagement.stale"] == 1


def test_a_row_of_another_registry_is_not_served_and_the_log_names_the_features(
    make_reader: Callable[..., OnlineReader], rows: OnlineRows, caplog: pytest.LogCaptureFixture
) -> None:
    good = pack(REGISTRY.group("ad_attributes"), AS_OF, [1.0] * 7)
    rows.put_packed("ad_attributes", "a1", bytes(8) + good[8:])
    reader = make_reader()
    fetched = reader.fetch([REGISTRY.group("ad_attributes")], ADS)
    assert np.isnan(fetched.rows["ad_attributes"].values).all()
    assert reader.counters()["ad_attributes.mismatched"] == 1
    assert "image_quality_score" in caplog.text


def test_sellers_are_read_in_batches_of_a_hundred_without_repeats(
    make_reader: Callable[..., OnlineReader], dynamodb: Any, rows: OnlineRows
) -> None:
    rows.put("seller_stats", "s149", (7, 0, 0, 0))
    counting = CountingDynamoDB(dynamodb)
    sellers: list[str | None] = [f"s{n // 2}" for n in range(300)]
    fetched = make_reader(table_client=counting).fetch([REGISTRY.group("seller_stats")], {"seller": sellers})
    assert sorted(len(keys) for keys in counting.requests) == [50, 100]
    assert fetched.rows["seller_stats"].values[-2:, 0].tolist() == [7, 7]


def test_unprocessed_keys_are_asked_for_again(
    make_reader: Callable[..., OnlineReader], dynamodb: Any, rows: OnlineRows
) -> None:
    fill(rows)
    counting = CountingDynamoDB(
        dynamodb, lambda call, items: {"Responses": {}, "UnprocessedKeys": items} if call == 1 else None
    )
    fetched = make_reader(table_client=counting).fetch(REGISTRY.groups, ADS)
    assert fetched.rows["seller_stats"].values[:, 0].tolist() == [3, 3]
    assert len(counting.requests) == 2


def test_throttling_is_asked_again_but_a_refusal_is_not(
    make_reader: Callable[..., OnlineReader], dynamodb: Any, rows: OnlineRows
) -> None:
    fill(rows)

    def throttle_once(call: int, items: Any) -> None:
        if call == 1:
            raise throttled()

    counting = CountingDynamoDB(dynamodb, throttle_once)
    assert make_reader(table_client=counting).fetch(REGISTRY.groups, ADS).outages == ()

    def refuse(call: int, items: Any) -> None:
        metadata = {"HTTPStatusCode": 400}
        error = {"Code": "AccessDeniedException", "Message": "no"}
        raise ClientError({"Error": error, "ResponseMetadata": metadata}, "BatchGetItem")

    counting = CountingDynamoDB(dynamodb, refuse)
    assert make_reader(table_client=counting).fetch(REGISTRY.groups, ADS).outages == ("seller_stats",)
    assert len(counting.requests) == 1


def test_throttling_without_end_stops_at_the_deadline(
    make_reader: Callable[..., OnlineReader], dynamodb: Any, rows: OnlineRows
) -> None:
    fill(rows)

    def throttle(call: int, items: Any) -> None:
        raise throttled()

    reader = make_reader(table_client=CountingDynamoDB(dynamodb, throttle), policy=DynamoDBPolicy(0.1))
    began = time.monotonic()
    fetched = reader.fetch(REGISTRY.groups, ADS)
    assert time.monotonic() - began < 1
    assert fetched.outages == ("seller_stats",)
    assert fetched.rows["ad_engagement"].values[:, 0].tolist() == [10, 20], "the other store is unharmed"


def test_sellers_are_kept_until_the_cache_expires(
    make_reader: Callable[..., OnlineReader], dynamodb: Any, rows: OnlineRows
) -> None:
    now = [0.0]
    counting = CountingDynamoDB(dynamodb)
    reader = make_reader(table_client=counting, clock=lambda: now[0])
    seller = [REGISTRY.group("seller_stats")]
    assert reader.fetch(seller, ADS).rows["seller_stats"].missing.all()
    rows.put("seller_stats", "s1", (3, 30, 3, 0.1))
    now[0] = 4.9
    assert reader.fetch(seller, ADS).rows["seller_stats"].missing.all(), "that there is no row is kept too"
    now[0] = 5.0
    assert not reader.fetch(seller, ADS).rows["seller_stats"].missing.any()
    assert len(counting.requests) == 2


def test_a_kept_seller_outlives_its_cache_time_while_dynamodb_is_down(
    make_reader: Callable[..., OnlineReader], dynamodb: Any, rows: OnlineRows
) -> None:
    fill(rows)
    now = [0.0]

    def down_later(call: int, items: Any) -> None:
        if call > 1:
            raise throttled()

    reader = make_reader(
        table_client=CountingDynamoDB(dynamodb, down_later), policy=DynamoDBPolicy(0.1), clock=lambda: now[0]
    )
    reader.fetch(REGISTRY.groups, ADS)
    now[0] = 60.0
    fetched = reader.fetch(REGISTRY.groups, ADS, AS_OF)
    assert fetched.outages == ("seller_stats",)
    assert fetched.rows["seller_stats"].values[:, 0].tolist() == [3, 3]


def test_a_redis_that_stops_costs_features_and_a_redis_that_returns_gives_them_back(
    make_reader: Callable[..., OnlineReader], caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer()
    try:
        group = REGISTRY.group("ad_engagement")
        redis = client(server.port)
        reader = make_reader(redis)

        def fetch() -> tuple[float, tuple[str, ...]]:
            redis_rows = reader.fetch([group], ADS)
            return redis_rows.rows[group.name].values[0, 0], redis_rows.outages

        OnlineRows(redis, None).put(group.name, "a1", (10, 2, 1, 0.2))
        assert fetch() == (10, ())
        server.stop()
        for _ in range(3):
            assert fetch() == (0, ("ad_engagement",))
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING and "ad_engagement" in r.getMessage()]
        assert len(warnings) == 1, "an outage is one line, not one line a request"
        assert reader.counters()["ad_engagement.outages"] == 3
        server.start()
        OnlineRows(redis, None).put(group.name, "a1", (11, 2, 1, 0.2))
        assert fetch() == (11, ())
    finally:
        server.stop()


def test_a_redis_that_hangs_is_given_up_after_its_timeout(make_reader: Callable[..., OnlineReader]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reader = make_reader(client(silent.getsockname()[1], timeout=0.05))
        began = time.monotonic()
        fetched = reader.fetch([REGISTRY.group("ad_engagement")], ADS)
        assert time.monotonic() - began < 1
    assert fetched.outages == ("ad_engagement",)
    assert fetched.rows["ad_engagement"].missing.all()
