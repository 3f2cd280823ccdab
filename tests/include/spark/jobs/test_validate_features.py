"""Each expectation can fail and says where; what a run found is kept, beside its Data Docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from adrank.contracts import lake, registry
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.registry import FeatureGroup, Registry
from adrank.contracts.timestamps import DAY, HOUR
from expectations.hour_suite import HourRowCounts
from expectations.validation import ExpectationOutcome, ValidationRun
from spark.jobs.validate_features import written
from spark.lake.files import LakeFiles
from tests.include.spark.jobs.steps import BOUNDS, validate_hours, validate_revised
from tests.support.spark_lake import BUCKET, TestLake, at

pytestmark = pytest.mark.spark
ENGAGEMENT, AFFINITY, SELLERS = map(registry.load().group, ("ad_engagement", "user_affinity", "seller_stats"))
Row = Mapping[str, Any]


def row(group: FeatureGroup, entity: str | None, end: datetime, **values: float) -> dict[str, Any]:
    """A row of which nothing can be said against, but for ``values``."""
    fine = {feature.name: 0.0 if feature.default is not None else None for feature in group.features}
    numbers = {name: float(value) for name, value in values.items()}
    return {"entity_id": entity, "feature_time": end, "available_at": end + group.lag, **fine, **numbers}


def shown(impressions: float, **more: float) -> dict[str, float]:
    return {**dict.fromkeys(("impressions_24h", "impressions_7d", "impressions_28d"), impressions), **more}


def table(group: FeatureGroup, rows: Sequence[Row]) -> pa.Table:
    moment = pa.timestamp("us", tz="UTC")
    keys = [("entity_id", pa.string()), ("feature_time", moment), ("available_at", moment)]
    return pa.Table.from_pylist(list(rows), schema=pa.schema([*keys, *((n, pa.float32()) for n in group.names)]))


def land(raw_lake: TestLake, group: FeatureGroup, hour: datetime, rows: Sequence[Row]) -> FeatureManifest:
    """A partition as a step leaves it."""
    manifest = FeatureManifest(
        group=group.name,
        hour=hour,
        available_at=hour + HOUR + group.lag,
        fingerprint=group.fingerprint,
        rows=len(rows),
        content_digest=f"{group.name} {len(rows)}",
        files=("part-0.parquet",) if rows else (),
    )
    path = raw_lake.path(lake.FEATURES(group.name).manifest(hour))
    path.parent.mkdir(parents=True, exist_ok=True)
    if rows:
        pq.write_table(table(group, rows), path.parent / "part-0.parquet")
    path.write_text(manifest.model_dump_json())
    return manifest


@pytest.fixture
def two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that is quicker to look at."""
    small = Registry(groups=(AFFINITY, SELLERS))
    monkeypatch.setattr(registry, "load", lambda: small)


def landed(raw_lake: TestLake, number: int, **values: float) -> None:
    """Both groups' partitions of an hour: four users, the first with ``values``, and no seller."""
    users = [row(AFFINITY, f"u{n}", at(number + 1), **(values if n == 0 else {})) for n in range(4)]
    land(raw_lake, AFFINITY, at(number), users)
    land(raw_lake, SELLERS, at(number), [])


def inspected(spark: SparkSession, rows: DataFrame, counts: HourRowCounts, docs: Path) -> list[ExpectationOutcome]:
    inspection = ValidationRun("run", at(1), docs)
    inspection.rows(rows, ENGAGEMENT)
    inspection.hours(rows, ENGAGEMENT, counts, BOUNDS)
    return inspection.findings


def engagement(spark: SparkSession, rows: Sequence[Row]) -> DataFrame:
    names = [f"{name} float" for name in ENGAGEMENT.names]
    columns = ["entity_id string", "feature_time timestamp", "available_at timestamp", *names]
    return spark.createDataFrame([tuple(values.values()) for values in rows], ", ".join(columns))


def test_each_expectation_can_fail_and_says_where(raw_lake: TestLake, spark: SparkSession, tmp_path: Path) -> None:
    bad = [
        *(row(ENGAGEMENT, f"ad{n}", at(1), **shown(30, clicks_7d=n, clicks_28d=n)) for n in range(4)),
        row(ENGAGEMENT, "ad0", at(1)),
        row(ENGAGEMENT, None, at(1)),
        row(ENGAGEMENT, "late", at(2)),
        row(ENGAGEMENT, "early", at(1)) | {"available_at": at(0)},
        row(ENGAGEMENT, "answered", at(1), **shown(30, clicks_7d=31, clicks_28d=31)),
        row(ENGAGEMENT, "negative", at(1), revenue_1h=-1),
        row(ENGAGEMENT, "shrinking", at(1), contacts_24h=2, contacts_7d=1, contacts_28d=2),
        row(ENGAGEMENT, "lacking", at(1)) | {"clicks_1h": None},
    ]
    counts = HourRowCounts({at(0): 9}, {at(0) - DAY: 20}, at(0) - 40 * DAY)
    findings = inspected(spark, engagement(spark, bad), counts, tmp_path)
    failed = {(finding.expectation, finding.columns): finding for finding in findings if not finding.success}
    between, missing = "expect_column_values_to_be_between", "expect_column_values_to_not_be_null"
    assert {key: finding.unexpected for key, finding in failed.items()} == {
        (missing, "entity_id"): 1,
        (missing, "clicks_1h"): 1,
        (between, "seconds_until_available"): 1,
        (between, "revenue_1h"): 1,
        (between, "contacts_that_longer_windows_add"): 1,
        (between, "impressions_7d_without_clicks"): 1,
        (between, "impressions_28d_without_clicks"): 1,
        ("expect_column_values_to_be_in_set", "hour_end"): 1,
        ("expect_column_pair_values_to_be_equal", "rows, entities"): 1,
        ("expect_column_pair_values_to_be_equal", "rows, manifest_rows"): 2,
        (between, "ratio"): 1,
    }
    assert "ad_engagement" in str(failed[between, "revenue_1h"])
    assert "entity_id negative, feature_time 2026-03-01 01:00:00, revenue_1h -1.0" in str(failed[between, "revenue_1h"])
    assert "entity_id shrinking" in str(failed[between, "contacts_that_longer_windows_add"])
    assert "repeated ad0" in str(failed["expect_column_pair_values_to_be_equal", "rows, entities"])
    unlike = str(failed["expect_column_pair_values_to_be_equal", "rows, manifest_rows"])
    assert "rows 11" in unlike
    assert "manifest_rows 9" in unlike
    assert f"hour_end {at(1).isoformat()}" in str(failed[between, "ratio"])
    assert "day_before 20" in str(failed[between, "ratio"])


def test_few_rows_may_answer_what_they_just_lost(raw_lake: TestLake, spark: SparkSession, tmp_path: Path) -> None:
    most = [row(ENGAGEMENT, f"ad{n}", at(1), **shown(30)) for n in range(19)]
    edge = row(ENGAGEMENT, "edge", at(1), **shown(30, clicks_7d=31, clicks_28d=31))
    few = row(ENGAGEMENT, "few", at(1), **shown(1, clicks_7d=9, clicks_28d=9))
    counts = HourRowCounts({at(0): 21}, {}, at(0))
    assert all(f.success for f in inspected(spark, engagement(spark, [*most, edge, few]), counts, tmp_path))


def test_columns_are_looked_at_as_they_were_written(raw_lake: TestLake, spark: SparkSession, tmp_path: Path) -> None:
    manifest = land(raw_lake, AFFINITY, at(0), [row(AFFINITY, "u", at(1))])
    part = raw_lake.path(lake.FEATURES(AFFINITY.name).revision(at(0), 0)) / manifest.files[0]
    first, *_, last = AFFINITY.names
    rows = pq.read_table(part).drop_columns([last])
    pq.write_table(rows.set_column(3, first, rows[first].cast(pa.float64())), part)
    inspection = ValidationRun("run", at(1), tmp_path)
    inspection.rows(written(spark, LakeFiles(spark, BUCKET), AFFINITY, [manifest]), AFFINITY)
    failed = {
        (finding.expectation, finding.columns): str(finding) for finding in inspection.findings if not finding.success
    }
    assert "DoubleType" in failed["expect_column_values_to_be_of_type", first]
    assert last in failed["expect_column_values_to_be_between", last]
    assert [kind for kind, _ in failed].count("expect_table_columns_to_match_ordered_list") == 1


@pytest.mark.usefixtures("two_groups")
def test_what_each_run_found_is_kept_and_a_retry_replaces_only_its_own(raw_lake: TestLake, spark: SparkSession) -> None:
    landed(raw_lake, 0)
    landed(raw_lake, 1, user_category_clicks_28d=-7.5)
    first, second = "scheduled__2026-03-01T01:00:00+00:00", "manual__2"
    with pytest.raises(SystemExit, match=r"user_affinity.*clicks_28d.*-7\.5"):
        validate_hours(0, 2, run=first)
    kept = lake.validation_run(at(1), first)
    assert ":" not in kept
    assert not raw_lake.read_json(f"{kept}results.json")["success"]
    docs = raw_lake.path(lake.data_docs(at(1), first))
    assert (docs / "index.html").exists()
    (page,) = (docs / "validations" / "user_affinity_failures").rglob("*.html")
    assert "-7.5" in page.read_text()

    landed(raw_lake, 1)
    validate_hours(0, 2, run=second)
    newest = raw_lake.read_json(lake.VALIDATION.hour(at(0)) + "results.json")
    assert newest["success"]
    assert newest["run"] == lake.validation_run(at(1), second)
    assert newest["content_digests"] == {
        group.name: raw_lake.read_json(lake.FEATURES(group.name).manifest(at(0)))["content_digest"]
        for group in registry.load().groups
    }
    found = raw_lake.read_json(newest["run"] + "results.json")
    assert {finding["group"] for finding in found["findings"]} == {group.name for group in registry.load().groups}
    assert found["content_digests"].keys() == {at(0).isoformat(), at(1).isoformat()}
    suites = json.loads(raw_lake.path(newest["run"] + "great_expectations.json").read_text())
    assert all(suite["success"] for suite in suites)
    assert not raw_lake.read_json(f"{kept}results.json")["success"], "the other run's verdict stays"

    validate_hours(0, 2, run=first)
    assert raw_lake.read_json(f"{kept}results.json")["success"]
    assert not (docs / "validations" / "user_affinity_failures").exists(), "nothing of the failed try stays"


@pytest.mark.usefixtures("two_groups")
def test_an_hour_with_far_fewer_rows_than_the_day_before_stops_the_push(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    for number in (0, 24, 48):
        landed(raw_lake, number)
    land(raw_lake, AFFINITY, at(48), [row(AFFINITY, "u0", at(49))])
    before = land(raw_lake, SELLERS, at(24), [row(SELLERS, f"s{n}", at(25)) for n in range(9)])
    path = raw_lake.path(lake.FEATURES(SELLERS.name).manifest(at(24)))
    path.write_text(before.model_copy(update={"fingerprint": "of another layout"}).model_dump_json())
    with pytest.raises(SystemExit) as stopped:
        validate_hours(48, 49)
    assert "user_affinity: expect_column_values_to_be_between(ratio)" in str(stopped.value)
    assert "rows 1, manifest_rows 1" in str(stopped.value)
    assert "day_before 4" in str(stopped.value)
    assert "seller_stats" not in str(stopped.value), "another layout is not comparable"


@pytest.mark.usefixtures("two_groups")
def test_hours_before_the_range_are_looked_at_where_they_were_computed(raw_lake: TestLake, spark: SparkSession) -> None:
    landed(raw_lake, 1)
    landed(raw_lake, 3)
    validate_revised(3, 4, at(0))
    validated = [
        number for number in range(4) if raw_lake.path(lake.VALIDATION.hour(at(number)) + "results.json").exists()
    ]
    assert validated == [1, 3]


def test_time_zones_are_no_matter() -> None:
    east = datetime.fromisoformat("2026-03-01T05:00:00+05:00")
    assert lake.validation_run(east, "r") == lake.validation_run(east.astimezone(UTC), "r")
    assert lake.validation_run(east, "r") != lake.validation_run(east + timedelta(hours=1), "r")
