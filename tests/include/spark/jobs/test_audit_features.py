"""What is online is read back and held against the lake: an injected skew is found with its exact counts."""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pyspark.sql import SparkSession
from redis import Redis

from adrank.contracts import lake, metrics, registry
from adrank.contracts.manifests import AuditManifest, GroupAudit
from adrank.contracts.online_layout import dynamodb_key, pack, redis_key
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR
from adrank.online.reader import StoreUnavailableError
from spark.jobs import audit_features
from spark.jobs.push_features import main as push
from spark.lake.feature_manifests import manifest_of
from spark.lake.feature_partitions import read
from spark.lake.files import LakeFiles
from spark.online.stored_rows import StoredRows, sample, without_row
from tests.support.feature_lake import FeatureLake, Numbers, values
from tests.support.online_stores import REGION, RedisServer
from tests.support.ports import free_port
from tests.support.spark_lake import BUCKET, FEATURES_TABLE, TestLake, at
from tests.support.table_server import TableServer

pytestmark = pytest.mark.spark

REGISTRY = registry.load()
ADS, SELLERS = REGISTRY.group("ad_engagement"), REGISTRY.group("seller_stats")
CLICKS = ADS.names.index("clicks_7d")
THOUSAND: dict[str, float | None] = {f"ad{n}": n + 1.0 for n in range(1000)} | {"ad5": None}
TWO_HUNDRED: dict[str, float | None] = {f"s{n}": n + 1.0 for n in range(200)}


class Stores:
    """Rows as pushes leave them."""

    def __init__(self, redis: Redis, dynamodb: Any) -> None:
        self.redis = redis
        self.dynamodb = dynamodb

    def push(self, group: FeatureGroup, rows: Numbers, as_of: datetime) -> None:
        self.put(group, {entity: pack(group, as_of, values(group, number)) for entity, number in rows.items()})

    def put(self, group: FeatureGroup, packed: Mapping[str, bytes]) -> None:
        if group.store == "redis":
            self.redis.mset({redis_key(group, entity): row for entity, row in packed.items()})
            return
        items = [
            {"entity_id": {"S": dynamodb_key(group, entity)}, "packed": {"B": row}} for entity, row in packed.items()
        ]
        for start in range(0, len(items), 25):
            puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            assert not self.dynamodb.batch_write_item(RequestItems={FEATURES_TABLE: puts})["UnprocessedItems"]

    def clear(self) -> None:
        self.redis.flushall()
        for item in self.dynamodb.scan(TableName=FEATURES_TABLE, ProjectionExpression="entity_id")["Items"]:
            self.dynamodb.delete_item(TableName=FEATURES_TABLE, Key=item)


@pytest.fixture
def stores(redis_server: RedisServer, tables: TableServer) -> Iterator[Stores]:
    client = Redis(port=redis_server.port)
    made = Stores(client, tables.connect())
    yield made
    made.clear()
    client.close()


@pytest.fixture
def features(raw_lake: TestLake) -> FeatureLake:
    return FeatureLake(raw_lake.root)


Audit = Callable[..., AuditManifest]


@pytest.fixture
def audit(
    raw_lake: TestLake, redis_server: RedisServer, tables: TableServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Audit]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", tables.url)
    spark = SparkSession.active()

    def run(hour: datetime, max_skew: float = 0.01, sample: int = 5000) -> AuditManifest:
        with closing(StoredRows("127.0.0.1", redis_server.port, False, FEATURES_TABLE, REGION)) as stores:
            audit_features.audit(spark, LakeFiles(spark, BUCKET), hour, stores, sample, max_skew, REGION)
        return AuditManifest.model_validate(raw_lake.read_json(lake.audit(hour)))

    with mock_aws():
        yield run


def of(audit: AuditManifest, group: FeatureGroup) -> GroupAudit:
    return next(found for found in audit.groups if found.group == group.name)


def metric(name: str, *dimensions: str) -> list[float]:
    """All values of a metric; ``dimensions`` are those of group and feature, in order."""
    named = [{"Name": n, "Value": v} for n, v in zip(("Group", "Feature"), dimensions, strict=False)]
    since, until = datetime.now().astimezone() - timedelta(hours=1), datetime.now().astimezone() + timedelta(hours=1)
    points = boto3.client("cloudwatch", region_name=REGION).get_metric_statistics(
        Namespace=metrics.FEATURES_NAMESPACE,
        MetricName=name,
        Dimensions=named,
        StartTime=since,
        EndTime=until,
        Period=86400,
        Statistics=["Maximum"],
    )["Datapoints"]
    return [point["Maximum"] for point in points]


def test_a_skew_of_one_percent_of_the_keys_is_found_with_exact_counts(
    features: FeatureLake, stores: Stores, audit: Audit
) -> None:
    features.hour(at(0), {ADS.name: THOUSAND, SELLERS.name: TWO_HUNDRED})
    # Most rows have not changed for hours, so their as-of time is older than the hour.
    stores.push(ADS, THOUSAND, at(1) - timedelta(hours=20))
    stores.push(SELLERS, TWO_HUNDRED, at(1))

    clean = audit(at(0), max_skew=0)
    assert clean.consistent
    assert clean.skew == 0
    assert (of(clean, ADS).compared, of(clean, SELLERS).compared) == (1000, 200)
    assert (of(clean, ADS).scanned, of(clean, SELLERS).scanned) == (1000, 200)
    assert metric(metrics.ONLINE_SKEW, ADS.name) == [0]

    stores.put(ADS, {f"ad{n}": pack(ADS, at(1), _with(ADS, n + 1.0, CLICKS, factor=3)) for n in range(10, 16)})
    stores.redis.delete(*(redis_key(ADS, f"ad{n}") for n in range(20, 24)))
    stores.put(SELLERS, {f"s{n}": pack(SELLERS, at(1), values(SELLERS, 7000)) for n in (3, 4)})

    found = audit(at(0), max_skew=0.005)
    ads, sellers = of(found, ADS), of(found, SELLERS)
    assert (ads.mismatched, ads.missing, ads.stale, ads.other_layout, ads.extra) == (6, 4, 0, 0, 0)
    assert ads.features["clicks_7d"].mismatched == 6 + 4
    assert ads.features["clicks_7d"].smape == pytest.approx((6 * 0.5 + 4 * 1) / 1000)
    assert {found.mismatched for name, found in ads.features.items() if name != "clicks_7d"} == {4}
    assert sellers.mismatched == 2
    assert found.skew == 0.01
    assert not found.consistent
    assert found.reasons[0] == (
        "ad_engagement: 10 of 1000 sampled keys differ (1.00%), above the limit of 0.50%: "
        "6 mismatched, 4 missing; most in clicks_7d (10)"
    )
    assert sorted(ads.examples) == sorted(
        [*(f"ad{n}: mismatched" for n in range(10, 16)), *(f"ad{n}: missing" for n in range(20, 24))]
    )
    assert metric(metrics.ONLINE_MISMATCHED, ADS.name) == [6]
    assert metric(metrics.ONLINE_MISSING, ADS.name) == [4]
    assert metric(metrics.ONLINE_SKEW, ADS.name) == [0.01]
    assert metric(metrics.FEATURE_SMAPE, ADS.name, "clicks_7d") == [pytest.approx(0.007)]


def _with(group: FeatureGroup, number: float, place: int, factor: float) -> Sequence[float]:
    row = list(values(group, number))
    row[place] *= factor
    return row


def test_what_pushes_leave_is_consistent_hour_after_hour(
    features: FeatureLake, stores: Stores, audit: Audit, redis_server: RedisServer
) -> None:
    names = [f"e{n}" for n in range(60)]
    for hour in range(2):
        numbers = {name: None if n % 7 == 0 else n + hour * (n % 5 == 0) + 1.0 for n, name in enumerate(names)}
        del numbers[f"e{hour}"], numbers[f"e{hour + 5}"]
        features.hour(at(hour), {ADS.name: numbers})
        where = ["--redis-host", "127.0.0.1", "--redis-port", str(redis_server.port), "--table", FEATURES_TABLE]
        arguments = ["--bucket", BUCKET, "--store", "redis", "--hour", at(hour).isoformat(), *where]
        push([*arguments, "--region", REGION])
        found = audit(at(hour))
        assert of(found, ADS).compared == 58
        assert of(found, ADS).scanned == (58, 60)[hour], "who left is online with the defaults"
        assert found.skew == 0, found.reasons


def test_every_way_of_being_wrong_has_a_count_of_its_own_and_what_is_right_has_none(
    features: FeatureLake, stores: Stores, audit: Audit
) -> None:
    features.hour(at(0), {ADS.name: dict.fromkeys(("same", "newer", "stale", "layout", "nan"), 3.0) | {"nan": None}})
    end, defaults = at(1), [feature.default_value for feature in ADS.features]
    old = end - timedelta(hours=ADS.ttl_hours + 1)
    stores.push(ADS, {"same": 3.0, "nan": None, "surplus": 1.0}, end)
    stores.push(ADS, {"newer": 9.0, "of the next hour": 9.0}, end + HOUR)
    stores.push(ADS, {"stale": 3.0, "long gone": 1.0}, old)
    stores.put(ADS, {"layout": bytes(8) + pack(ADS, end, values(ADS, 3.0))[8:], "left": pack(ADS, end, defaults)})
    stores.push(SELLERS, {"unknown seller": 1.0}, end)

    found = audit(at(0))
    ads = of(found, ADS)
    assert (ads.rows, ads.sampled, ads.newer, ads.compared) == (5, 5, 1, 4)
    assert (ads.stale, ads.other_layout, ads.mismatched, ads.missing) == (1, 1, 0, 0)
    assert (ads.scanned, ads.extra) == (9, 1)
    assert "surplus: extra" in ads.examples
    assert of(found, SELLERS).extra == 1
    assert not found.superseded
    assert found.skew == 1, "the only key of its group in DynamoDB has no offline row"


def test_an_hour_that_a_later_push_has_overtaken_says_nothing(
    features: FeatureLake, stores: Stores, audit: Audit
) -> None:
    features.hour(at(0), {ADS.name: {"a": 1.0}})
    stores.push(ADS, {"a": 2.0}, at(2))
    found = audit(at(0))
    assert found.consistent
    assert found.superseded


def test_a_sample_is_new_every_hour_and_the_same_when_an_hour_is_audited_again(
    features: FeatureLake, raw_lake: TestLake, spark: SparkSession
) -> None:
    features.hour(at(0), {ADS.name: THOUSAND})
    files = LakeFiles(spark, BUCKET)
    rows = read(spark, files, ADS, [manifest_of(files, ADS, at(0))])
    one, offline = sample(rows, ADS, 100, 1)
    assert len(set(one)) == 100
    assert [float(row[0]) for row in offline] == pytest.approx(
        [THOUSAND[name] or float("nan") for name in one], nan_ok=True
    )
    assert sample(rows, ADS, 100, 1)[0] == one
    other, _ = sample(rows, ADS, 100, 2)
    assert len({*one, *other}) > 150
    assert without_row(rows, ["nobody", "ad1"]) == ["nobody"]


def served(raw_lake: TestLake, hour: datetime, *rows: dict[str, Any]) -> None:
    path = raw_lake.path(lake.SERVED_ROWS.hour(hour)) / "i-0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(
    entity: str, as_of: datetime, number: float | None, reason: str | None = None, **changes: float
) -> dict[str, Any]:
    """A line of a request for one entity, whose model takes two features."""
    features = ("clicks_7d", "impressions_7d")
    held = dict(zip(ADS.names, values(ADS, number), strict=True)) | changes
    return {
        "group": ADS.name,
        "fingerprint": ADS.fingerprint,
        "event_time": as_of.isoformat(),
        "features": features,
        "entities": [entity],
        "as_of": [int(as_of.timestamp())],
        "reasons": [reason],
        "rows": b64encode(struct.pack("<2f", *(held[name] for name in features))).decode(),
    }


def test_served_rows_are_held_against_the_hour_that_they_name_in_any_revision(
    features: FeatureLake, raw_lake: TestLake, stores: Stores, audit: Audit
) -> None:
    features.hour(at(0), {ADS.name: {"a": 1.0, "b": None}})
    features.hour(at(0), {ADS.name: {"a": 2.0, "b": None}}, revision=1)
    features.hour(at(3), {ADS.name: {"a": 3.0}})
    stores.push(ADS, {"a": 3.0}, at(4))
    right = {"clicks_7d": 0.0, "impressions_7d": 0.0}
    one, two = row("a", at(1), 1.0), row("a", at(1), 2.0)
    both = one | {key: one[key] + two[key] for key in ("entities", "as_of", "reasons")}
    both["rows"] = b64encode(b64decode(one["rows"]) + b64decode(two["rows"])).decode()
    served(
        raw_lake,
        at(3),
        both,
        row("b", at(1), None),
        row("left", at(1), None, None, **right),
        row("new", at(1), None, "missing", **right),
        row("a", at(1), 3.0),
        row("new", at(1), 1.0, "missing"),
        row("a", at(1), 1.0, impressions_7d=77.0),
        row("a", at(3), 1.0),
        row("a", at(1), 1.0) | {"fingerprint": "0" * 64},
    )
    found = audit(at(3))
    assert of(found, ADS).different == 0
    seen = of(found, ADS).served
    assert (seen.rows, seen.compared, seen.unknown, seen.defaults) == (10, 8, 2, 2)
    assert seen.mismatched == 3
    assert seen.features == {"impressions_7d": 3, "clicks_7d": 2}
    assert found.skew == 3 / 8
    assert metric(metrics.SERVED_MISMATCHED, ADS.name) == [3]
    assert metric(metrics.SERVED_DEFAULTS, ADS.name) == [2]
    assert metric(metrics.SERVED_UNKNOWN, ADS.name) == [2]


def test_who_was_served_defaults_though_a_row_was_due_counts_as_mismatched(
    features: FeatureLake, raw_lake: TestLake, stores: Stores, audit: Audit
) -> None:
    """The store may have had its rows back by the time of the audit."""
    ads = {"evicted": 1.0, "stale": 1.0, "away": 1.0}
    features.hour(at(0), {ADS.name: {**ads, "left": 1.0}})
    features.hour(at(1), {ADS.name: {**ads, "appeared": 1.0}})
    features.hour(at(2), {ADS.name: {}})
    stores.push(ADS, ads, at(2))
    defaults = dict.fromkeys(("clicks_7d", "impressions_7d"), 0.0)

    def without(entity: str, reason: str, minute: int = 30) -> dict[str, Any]:
        return row(entity, at(2), None, reason, **defaults) | {"event_time": at(2, minute).isoformat()}

    right = [
        *(without(entity, "missing") for entity in ("nobody", "left", "appeared")),
        without("evicted", "missing", minute=5),  # the hour that ended at 2 is due ten minutes later
        *(without("away", reason) for reason in ("outage", "other layout")),
    ]
    served(raw_lake, at(2), *right, without("evicted", "missing"), without("stale", "stale"))
    seen = of(audit(at(2)), ADS).served
    assert (seen.compared, seen.defaults, seen.mismatched) == (8, 8, 2)
    assert seen.features == {"clicks_7d": 2, "impressions_7d": 2}


def test_a_broken_line_of_the_served_log_is_an_error(
    features: FeatureLake, raw_lake: TestLake, stores: Stores, audit: Audit
) -> None:
    features.hour(at(0), {})
    served(raw_lake, at(0), row("a", at(1), 1.0))
    with (raw_lake.path(lake.SERVED_ROWS.hour(at(0))) / "i-0.jsonl").open("a") as log:
        log.write('{"group": "ad_eng')
    with pytest.raises(Exception, match=r"i-0\.jsonl|[Mm]alformed"):
        audit(at(0))


def test_an_outage_is_no_skew(tables: TableServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", tables.url)
    stores = StoredRows("127.0.0.1", free_port(), False, FEATURES_TABLE, REGION)
    with pytest.raises(StoreUnavailableError, match="redis did not answer for ad_engagement"):
        stores.rows(ADS, ["a"], at(0))
    stores.close()
