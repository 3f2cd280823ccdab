"""What a push leaves in the online stores."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from redis import Redis

from adrank.contracts import registry
from adrank.contracts.online_layout import dynamodb_key, redis_key, unpack
from adrank.online.writer import DynamoDBWriter, Pushed, RedisWriter, ThrottledError
from tests.include.online_stores import AS_OF, REGION, TABLE, RedisServer

ADS = registry.load().group("ad_engagement")
SELLERS = registry.load().group("seller_stats")
EARLIER = AS_OF - timedelta(hours=1)
LATER = AS_OF + timedelta(hours=1)


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    client = Redis(port=redis_server.port)
    yield client
    client.close()


@pytest.fixture
def to_redis(redis: Redis) -> RedisWriter:
    return RedisWriter(redis)


def in_redis(client: Redis, entity: str) -> Any:
    packed = client.get(redis_key(ADS, entity))
    assert isinstance(packed, bytes)
    return unpack(ADS, packed)


def test_a_row_is_packed_under_its_key_and_lives_as_long_as_its_group_says(to_redis: RedisWriter, redis: Redis) -> None:
    assert to_redis.push(ADS, AS_OF, [("a", (10, 2, 1, 0.25))]) == Pushed(offered=1, written=1)
    assert in_redis(redis, "a") == (AS_OF, (10, 2, 1, 0.25))
    assert ADS.ttl_hours * 3600 - 60 < redis.ttl(redis_key(ADS, "a")) <= ADS.ttl_hours * 3600


def test_in_redis_a_newer_row_replaces_an_older_and_never_the_other_way(to_redis: RedisWriter, redis: Redis) -> None:
    to_redis.push(ADS, AS_OF, [("a", (1, 0, 0, 0))])
    late = to_redis.push(ADS, EARLIER, [("a", (2, 0, 0, 0)), ("b", (2, 0, 0, 0))])
    assert (late.written, late.stale) == (1, 1)
    assert in_redis(redis, "a") == (AS_OF, (1, 0, 0, 0))
    assert in_redis(redis, "b").as_of == EARLIER
    assert to_redis.push(ADS, LATER, [("a", (3, 0, 0, 0))]).stale == 0
    assert in_redis(redis, "a").as_of == LATER


def test_pushing_an_hour_to_redis_again_gives_the_same_values_and_counts(to_redis: RedisWriter, redis: Redis) -> None:
    rows = [(f"ad{n}", (float(n), 0.0, 0.0, 0.0)) for n in range(2_500)]
    first = to_redis.push(ADS, AS_OF, rows)
    there = {key: redis.get(key) for key in redis.scan_iter()}
    assert to_redis.push(ADS, AS_OF, iter(rows)) == first == Pushed(2_500, 2_500)
    assert {key: redis.get(key) for key in redis.scan_iter()} == there


def test_a_corrected_hour_replaces_itself(to_redis: RedisWriter, redis: Redis) -> None:
    to_redis.push(ADS, AS_OF, [("a", (1, 0, 0, 0))])
    to_redis.push(ADS, AS_OF, [("a", (2, 0, 0, 0))])
    assert in_redis(redis, "a").values[0] == 2


def test_whatever_the_order_of_the_pushes_the_newest_hour_remains(to_redis: RedisWriter, redis: Redis) -> None:
    hours = list(range(-300, 300, 7))
    random.Random(3).shuffle(hours)
    for hour in hours:
        to_redis.push(ADS, AS_OF + timedelta(hours=hour), [("a", (float(hour), 0, 0, 0))])
    assert in_redis(redis, "a").values[0] == max(hours)


def test_a_redis_that_forgot_its_scripts_is_told_again(to_redis: RedisWriter, redis: Redis) -> None:
    to_redis.push(ADS, AS_OF, [("a", (1, 0, 0, 0))])
    redis.script_flush()
    assert to_redis.push(ADS, LATER, [("a", (2, 0, 0, 0))]).written == 1


def test_a_row_of_another_width_is_refused(to_redis: RedisWriter) -> None:
    with pytest.raises(ValueError, match="packs 4 values, got 1"):
        to_redis.push(ADS, AS_OF, [("a", (1.0,))])


def in_dynamodb(client: Any, entity: str) -> dict[str, Any]:
    item: dict[str, Any] = client.get_item(TableName=TABLE, Key={"entity_id": {"S": dynamodb_key(SELLERS, entity)}})[
        "Item"
    ]
    return item


def test_an_item_holds_the_packed_row_its_hour_and_when_it_expires(dynamodb: Any) -> None:
    pushed = DynamoDBWriter(dynamodb, TABLE).push(SELLERS, AS_OF, [("s", (3, 100, 4, 0.04))])
    item = in_dynamodb(dynamodb, "s")
    assert pushed == Pushed(1, 1)
    assert unpack(SELLERS, item["packed"]["B"]).as_of == AS_OF
    assert item["as_of"] == {"N": str(int(AS_OF.timestamp()))}
    assert item["expires_at"] == {"N": str(int((AS_OF + timedelta(hours=SELLERS.ttl_hours)).timestamp()))}


def test_in_dynamodb_a_newer_item_replaces_an_older_and_never_the_other_way(dynamodb: Any) -> None:
    store = DynamoDBWriter(dynamodb, TABLE)
    store.push(SELLERS, AS_OF, [("s", (1, 0, 0, 0))])
    late = store.push(SELLERS, EARLIER, [("s", (2, 0, 0, 0)), ("t", (2, 0, 0, 0))])
    assert (late.written, late.stale) == (1, 1)
    assert unpack(SELLERS, in_dynamodb(dynamodb, "s")["packed"]["B"]).values[0] == 1
    assert store.push(SELLERS, LATER, [("s", (3, 0, 0, 0))]).stale == 0
    assert unpack(SELLERS, in_dynamodb(dynamodb, "s")["packed"]["B"]).values[0] == 3


def test_pushing_an_hour_to_dynamodb_again_gives_the_same_items_and_counts(dynamodb: Any) -> None:
    store, rows = DynamoDBWriter(dynamodb, TABLE), [(f"s{n}", (float(n), 0.0, 0.0, 0.0)) for n in range(20)]
    first = store.push(SELLERS, AS_OF, rows)
    there = sorted(map(str, dynamodb.scan(TableName=TABLE)["Items"]))
    assert store.push(SELLERS, AS_OF, iter(rows)) == first == Pushed(20, 20)
    assert sorted(map(str, dynamodb.scan(TableName=TABLE)["Items"])) == there


class Throttling:
    """Answers the first ``refusals`` puts with an error."""

    def __init__(self, client: Any, refusals: int, code: str = "ProvisionedThroughputExceededException") -> None:
        self.exceptions = client.exceptions
        self.puts = 0
        self._client = client
        self._refusals = refusals
        self._code = code
        self._lock = threading.Lock()

    def put_item(self, **asked: Any) -> Any:
        with self._lock:
            self.puts += 1
            refused = self.puts <= self._refusals
        if refused:
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, "PutItem")
        return self._client.put_item(**asked)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("_impatient")
def test_throttling_is_waited_out_and_nothing_is_lost(dynamodb: Any) -> None:
    client = Throttling(dynamodb, refusals=7)
    rows = [(f"s{n}", (float(n), 0.0, 0.0, 0.0)) for n in range(10)]
    assert DynamoDBWriter(client, TABLE).push(SELLERS, AS_OF, rows) == Pushed(10, 10)
    assert client.puts == 17
    assert dynamodb.scan(TableName=TABLE)["Count"] == 10


@pytest.mark.usefixtures("_impatient")
def test_throttling_without_end_is_an_error_that_names_table_and_key(dynamodb: Any) -> None:
    client = Throttling(dynamodb, refusals=1_000_000)
    with pytest.raises(ThrottledError, match=rf"{TABLE} throttled seller_stats#s"):
        DynamoDBWriter(client, TABLE).push(SELLERS, AS_OF, [("s", (1, 0, 0, 0))])


def test_another_failure_is_not_retried(dynamodb: Any) -> None:
    client = Throttling(dynamodb, refusals=1, code="AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        DynamoDBWriter(client, TABLE).push(SELLERS, AS_OF, [("s", (1, 0, 0, 0))])
    assert client.puts == 1


def test_the_tables_client_is_found_by_region_alone(dynamodb: Any) -> None:
    assert DynamoDBWriter.connect(TABLE, REGION).push(SELLERS, AS_OF, [("s", (1, 0, 0, 0))]).written == 1
