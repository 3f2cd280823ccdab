"""What a push leaves in the online stores."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from redis import Connection, Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from adrank.contracts import registry
from adrank.contracts.online_layout import OnlineRow, dynamodb_key, redis_key, unpack
from adrank.contracts.registry import FeatureGroup
from adrank.online.dynamodb_writer import DynamoDBWriter
from adrank.online.push_state import FencingToken, PushFencedError, StateLostError, StoreState
from adrank.online.redis_writer import EvictingRedisError, RedisWriter
from adrank.online.writer import DynamoDBAddress, OnlineWriter, RedisAddress
from adrank.runtime.retry import RetriesExhaustedError, RetryUntil
from tests.support.online_stores import AS_OF, REGION, TABLE, RedisServer

ADS = registry.load().group("ad_engagement")
SELLERS = registry.load().group("seller_stats")
EARLIER = AS_OF - timedelta(hours=1)
LATER = AS_OF + timedelta(hours=1)
STATE = StoreState(token="mine", fence=7)
FENCING_TOKEN = FencingToken("mine", 7)


def batch(group: FeatureGroup, firsts: dict[str, float | None]) -> pa.RecordBatch:
    """Rows by entity; ``firsts`` gives the first feature, the others are their number."""
    columns: dict[str, Any] = {"entity_id": pa.array(list(firsts), pa.string())}
    for number, name in enumerate(group.names):
        values = list(firsts.values()) if number == 0 else [float(number)] * len(firsts)
        columns[name] = pa.array(values, pa.float32())
    return pa.RecordBatch.from_pydict(columns)


def values(group: FeatureGroup, first: float) -> tuple[float, ...]:
    return (first, *(float(number) for number in range(1, len(group.names))))


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    client = Redis(port=redis_server.port)
    yield client
    client.close()


def claimed(writer: OnlineWriter) -> None:
    """Make ``FENCING_TOKEN`` valid."""
    assert writer.swap(None, STATE.model_copy(update={"instance": writer.instance()}))


@pytest.fixture
def to_redis(redis: Redis) -> RedisWriter:
    writer = RedisWriter(redis, RetryUntil.for_seconds(10))
    claimed(writer)
    return writer


@pytest.fixture
def to_dynamodb(dynamodb: Any) -> Iterator[DynamoDBWriter]:
    writer = DynamoDBWriter(dynamodb, TABLE, RetryUntil.for_seconds(10))
    claimed(writer)
    yield writer
    writer.close()


def in_redis(client: Redis, entity: str) -> OnlineRow:
    packed = client.get(redis_key(ADS, entity))
    assert isinstance(packed, bytes)
    return unpack(ADS, packed)


def in_dynamodb(client: Any, entity: str) -> dict[str, Any]:
    item: dict[str, Any] = client.get_item(TableName=TABLE, Key={"entity_id": {"S": dynamodb_key(SELLERS, entity)}})[
        "Item"
    ]
    return item


def first_in_dynamodb(client: Any, entity: str) -> float:
    return unpack(SELLERS, in_dynamodb(client, entity)["packed"]["B"]).values[0]


def test_a_row_is_packed_under_its_key_and_lives_as_long_as_its_group_says(to_redis: RedisWriter, redis: Redis) -> None:
    assert to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 10})) == 1
    assert in_redis(redis, "a") == (AS_OF, values(ADS, 10))
    assert ADS.ttl_hours * 3600 - 60 < redis.ttl(redis_key(ADS, "a")) <= ADS.ttl_hours * 3600


def test_a_null_is_stored_as_nan_and_every_row_of_many_batches_under_its_own_key(
    to_redis: RedisWriter, redis: Redis
) -> None:
    firsts: dict[str, float | None] = {f"ä|{n}": float(n) for n in range(2_501)}
    assert to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {**firsts, "none": None})) == 2_502
    assert in_redis(redis, "none").values[0] != in_redis(redis, "none").values[0]
    assert {entity: in_redis(redis, entity).values[0] for entity in firsts} == firsts


def test_in_redis_a_newer_row_replaces_an_older_and_never_the_other_way(to_redis: RedisWriter, redis: Redis) -> None:
    to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}))
    assert to_redis.write(FENCING_TOKEN, ADS, EARLIER, batch(ADS, {"a": 2, "b": 2})) == 1
    assert in_redis(redis, "a") == (AS_OF, values(ADS, 1))
    assert in_redis(redis, "b").as_of == EARLIER
    assert to_redis.write(FENCING_TOKEN, ADS, LATER, batch(ADS, {"a": 3})) == 1
    assert in_redis(redis, "a").as_of == LATER


def test_pushing_an_hour_to_redis_again_gives_the_same_values_and_counts(to_redis: RedisWriter, redis: Redis) -> None:
    rows = batch(ADS, {f"ad{n}": float(n) for n in range(1_500)})
    assert to_redis.write(FENCING_TOKEN, ADS, AS_OF, rows) == 1_500
    there = {key: redis.get(key) for key in redis.scan_iter()}
    assert to_redis.write(FENCING_TOKEN, ADS, AS_OF, rows) == 1_500
    assert {key: redis.get(key) for key in redis.scan_iter()} == there


def test_a_corrected_hour_replaces_itself(to_redis: RedisWriter, redis: Redis) -> None:
    to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}))
    to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 2}))
    assert in_redis(redis, "a").values[0] == 2


def test_whatever_the_order_of_the_pushes_the_newest_hour_remains(to_redis: RedisWriter, redis: Redis) -> None:
    hours = list(range(-300, 300, 7))
    random.Random(3).shuffle(hours)
    for hour in hours:
        to_redis.write(FENCING_TOKEN, ADS, AS_OF + timedelta(hours=hour), batch(ADS, {"a": float(hour)}))
    assert in_redis(redis, "a").values[0] == max(hours)


def test_a_redis_that_forgot_its_scripts_is_told_again(to_redis: RedisWriter, redis: Redis) -> None:
    to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}))
    redis.script_flush()
    assert to_redis.write(FENCING_TOKEN, ADS, LATER, batch(ADS, {"a": 2})) == 1


def test_rows_on_their_way_when_the_connection_breaks_are_written_all_the_same(
    to_redis: RedisWriter, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, answers = Connection.read_response, itertools.count(1)

    def breaking(self: Connection, *args: Any, **more: Any) -> Any:
        if next(answers) == 3:
            raise RedisConnectionError("reset by peer")
        return read(self, *args, **more)

    monkeypatch.setattr(Connection, "read_response", breaking)
    firsts: dict[str, float | None] = {f"ad{n}": float(n) for n in range(3_100)}
    assert to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, firsts)) == 3_100
    monkeypatch.undo()
    assert next(answers) > 3, "the connection did break"
    assert {entity: in_redis(redis, entity).values[0] for entity in firsts} == firsts


def test_a_row_without_a_feature_or_an_entity_is_refused(to_redis: RedisWriter) -> None:
    with pytest.raises(KeyError, match=ADS.names[-1]):
        to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}).drop_columns([ADS.names[-1]]))
    nameless = batch(ADS, {"a": 1}).set_column(0, "entity_id", pa.array([None], pa.string()))
    with pytest.raises(ValueError, match="1 of 1 rows of f:ad_engagement: have no entity id"):
        to_redis.write(FENCING_TOKEN, ADS, AS_OF, nameless)


def test_after_another_push_began_redis_takes_no_row_of_this_one(to_redis: RedisWriter, redis: Redis) -> None:
    there = to_redis.state()
    assert there is not None
    assert to_redis.swap(there, there.model_copy(update={"token": "theirs"}))
    with pytest.raises(PushFencedError):
        to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}))
    assert redis.keys("f:*") == []


def test_a_redis_that_lost_the_state_takes_no_row_and_says_so(to_redis: RedisWriter, redis: Redis) -> None:
    redis.flushall()
    with pytest.raises(StateLostError):
        to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}))
    assert redis.dbsize() == 0


def test_the_state_changes_only_from_what_was_seen_and_in_the_same_process(to_redis: RedisWriter) -> None:
    there = to_redis.state()
    assert there is not None
    new = there.model_copy(update={"token": "new"})
    assert not to_redis.swap(None, new)
    assert not to_redis.swap(there.model_copy(update={"token": "seen by somebody else"}), new)
    assert not to_redis.swap(there, new.model_copy(update={"instance": "a process that is gone"}))
    assert to_redis.state() == there
    assert to_redis.swap(there, new)
    assert to_redis.swap(there, new), "an answer that was lost"


@pytest.fixture
def full_redis(redis: Redis) -> Iterator[Redis]:
    redis.config_set("maxmemory", "1mb")
    yield redis
    redis.config_set("maxmemory", "0")


def test_a_full_redis_is_waited_for_until_there_is_room(to_redis: RedisWriter, full_redis: Redis) -> None:
    room = threading.Timer(0.2, full_redis.config_set, ["maxmemory", "0"])
    room.start()
    assert to_redis.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1})) == 1
    room.join()


def test_a_redis_that_stays_full_is_an_error_at_the_limit(to_redis: RedisWriter, full_redis: Redis) -> None:
    impatient = RedisWriter(full_redis, RetryUntil.for_seconds(0.3))
    with pytest.raises(RetriesExhaustedError, match=r"Redis refused until the limit of the push: .*maxmemory"):
        impatient.write(FENCING_TOKEN, ADS, AS_OF, batch(ADS, {"a": 1}))


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "allkeys-lfu", "noeviction"])
def test_a_redis_that_drops_rows_when_it_is_full_is_refused_by_policy_and_remedy(
    to_redis: RedisWriter, redis: Redis, policy: str
) -> None:
    redis.config_set("maxmemory-policy", policy)
    try:
        to_redis.require_no_eviction()  # it has no limit, so it is never full
        redis.config_set("maxmemory", "100mb")
        if policy == "noeviction":
            to_redis.require_no_eviction()
            return
        with pytest.raises(EvictingRedisError, match=f"policy {policy} .*set maxmemory-policy to noeviction"):
            to_redis.require_no_eviction()
    finally:
        redis.config_set("maxmemory", "0")
        redis.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_is_not_there_is_an_error_at_the_limit() -> None:
    server = RedisServer()
    server.stop()
    with pytest.raises(RetriesExhaustedError, match="Redis refused"):
        RedisAddress("127.0.0.1", server.port).open(RetryUntil.for_seconds(0.2)).state()


def test_an_item_holds_the_packed_row_its_hour_and_when_it_expires(to_dynamodb: DynamoDBWriter, dynamodb: Any) -> None:
    assert to_dynamodb.write(FENCING_TOKEN, SELLERS, AS_OF, batch(SELLERS, {"s": 3})) == 1
    item = in_dynamodb(dynamodb, "s")
    assert unpack(SELLERS, item["packed"]["B"]) == (AS_OF, values(SELLERS, 3))
    assert item["as_of"] == {"N": str(int(AS_OF.timestamp()))}
    assert item["expires_at"] == {"N": str(int((AS_OF + timedelta(hours=SELLERS.ttl_hours)).timestamp()))}


def test_in_dynamodb_a_newer_item_replaces_an_older_and_never_the_other_way(
    to_dynamodb: DynamoDBWriter, dynamodb: Any
) -> None:
    to_dynamodb.write(FENCING_TOKEN, SELLERS, AS_OF, batch(SELLERS, {"s": 1}))
    assert to_dynamodb.write(FENCING_TOKEN, SELLERS, EARLIER, batch(SELLERS, {"s": 2, "t": 2})) == 1
    assert first_in_dynamodb(dynamodb, "s") == 1
    assert to_dynamodb.write(FENCING_TOKEN, SELLERS, LATER, batch(SELLERS, {"s": 3})) == 1
    assert first_in_dynamodb(dynamodb, "s") == 3


def test_among_pushes_of_one_hour_the_one_that_began_last_wins(to_dynamodb: DynamoDBWriter, dynamodb: Any) -> None:
    for fence, first, written in ((7, 1, 1), (8, 2, 1), (7, 1, 0), (8, 3, 1)):
        fencing_token = FencingToken("mine", fence)
        assert to_dynamodb.write(fencing_token, SELLERS, AS_OF, batch(SELLERS, {"s": first})) == written
    assert first_in_dynamodb(dynamodb, "s") == 3


def test_pushing_an_hour_to_dynamodb_again_gives_the_same_items_and_counts(
    to_dynamodb: DynamoDBWriter, dynamodb: Any
) -> None:
    rows = batch(SELLERS, {f"s{n}": float(n) for n in range(20)})
    assert to_dynamodb.write(FENCING_TOKEN, SELLERS, AS_OF, rows) == 20
    there = sorted(map(str, dynamodb.scan(TableName=TABLE)["Items"]))
    assert to_dynamodb.write(FENCING_TOKEN, SELLERS, AS_OF, rows) == 20
    assert sorted(map(str, dynamodb.scan(TableName=TABLE)["Items"])) == there


def test_dynamodb_too_takes_no_row_of_a_fenced_push_and_swaps_only_what_was_seen(
    to_dynamodb: DynamoDBWriter, dynamodb: Any
) -> None:
    there = to_dynamodb.state()
    assert there is not None
    new = there.model_copy(update={"token": "theirs"})
    assert not to_dynamodb.swap(None, new)
    assert not to_dynamodb.swap(there.model_copy(update={"token": "seen by somebody else"}), new)
    assert to_dynamodb.swap(there, new)
    assert to_dynamodb.swap(there, new), "an answer that was lost"
    with pytest.raises(PushFencedError):
        to_dynamodb.write(FENCING_TOKEN, SELLERS, AS_OF, batch(SELLERS, {"s": 1}))
    assert dynamodb.scan(TableName=TABLE)["Count"] == 1


class Throttling:
    """Answers the first ``refusals`` puts with an error."""

    def __init__(self, client: Any, refusals: int, code: str = "ProvisionedThroughputExceededException") -> None:
        self.puts = 0
        self.get_item = client.get_item
        self._client = client
        self._refusals = refusals
        self._code = code
        self._lock = threading.Lock()

    def put_item(self, **arguments: Any) -> Any:
        with self._lock:
            self.puts += 1
            refused = self.puts <= self._refusals
        if refused:
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, "PutItem")
        return self._client.put_item(**arguments)


def write(client: Any, entities: Sequence[str], seconds: float = 10) -> int:
    writer = DynamoDBWriter(client, TABLE, RetryUntil.for_seconds(seconds))
    try:
        return writer.write(FENCING_TOKEN, SELLERS, AS_OF, batch(SELLERS, dict.fromkeys(entities, 1.0)))
    finally:
        writer.close()


@pytest.mark.usefixtures("to_dynamodb")
def test_throttling_is_waited_out_and_nothing_is_lost(dynamodb: Any) -> None:
    client = Throttling(dynamodb, refusals=7)
    assert write(client, [f"s{n}" for n in range(10)]) == 10
    assert client.puts == 17
    assert dynamodb.scan(TableName=TABLE)["Count"] == 10 + 1


@pytest.mark.usefixtures("to_dynamodb")
def test_throttling_without_end_is_an_error_that_names_the_table(dynamodb: Any) -> None:
    with pytest.raises(RetriesExhaustedError, match=f"table {TABLE} refused until the limit of the push"):
        write(Throttling(dynamodb, refusals=1_000_000), ["s"], seconds=0.3)


@pytest.mark.usefixtures("to_dynamodb")
def test_another_failure_is_not_retried(dynamodb: Any) -> None:
    client = Throttling(dynamodb, refusals=1, code="AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        write(client, ["s"])
    assert client.puts == 1


@pytest.mark.usefixtures("to_dynamodb")
def test_the_tables_client_is_found_by_region_alone() -> None:
    writer = DynamoDBAddress(TABLE, REGION).open(RetryUntil.for_seconds(10))
    assert writer.write(FENCING_TOKEN, SELLERS, AS_OF, batch(SELLERS, {"s": 1})) == 1
    writer.close()
