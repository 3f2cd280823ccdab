"""Feature values worked out by hand, and the promises of a feature partition."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from adrank.contracts import lake, registry
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import floor_hour
from spark.application.parts import PartsFailedError
from tests.include.spark.jobs.steps import ad, manifest, rows, run
from tests.support.spark_lake import TestLake, at, event

pytestmark = pytest.mark.spark
SQL = Path(__file__).resolve().parents[4] / "include" / "sql"


def test_ad_engagement_counts_each_event_once_in_a_half_open_window_of_168_hours(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    seen = event("i1", "impression", at(0), "a")
    raw_lake.land(at(0), [seen, seen, event("i2", "impression", at(0, 59), "a"), event("c1", "click", at(0, 5), "a")])
    raw_lake.land(at(1), [event("i1", "impression", at(0), "a"), event("i3", "impression", at(1), "a")])
    for hour in range(2, 170):
        raw_lake.land(at(hour), [event("i9", "impression", at(169), "b")] if hour == 169 else [])
    run(raw_lake, "ad_engagement", at(0), at(2))
    run(raw_lake, "ad_engagement", at(167), at(170))

    assert rows(raw_lake, "ad_engagement", at(0))["a"]["impressions_7d"] == 2
    first = rows(raw_lake, "ad_engagement", at(1))["a"]
    assert (first["impressions_7d"], first["clicks_7d"], first["contacts_7d"]) == (3, 1, 0)
    assert first["ctr_7d"] == pytest.approx(1 / 3)
    assert rows(raw_lake, "ad_engagement", at(167))["a"]["impressions_7d"] == 3, "hour 0 is just inside the window"
    last = rows(raw_lake, "ad_engagement", at(168))["a"]
    assert (last["impressions_7d"], last["clicks_7d"]) == (1, 0), "hour 0 has just left it"
    assert set(rows(raw_lake, "ad_engagement", at(169))) == {"a", "b"}, "28 days hold it still"


def test_a_raw_rate_is_missing_without_impressions_and_a_smoothed_one_never_over_one(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    twice = [event(f"c{n}", "click", at(0, n), "b") for n in range(2)]
    raw_lake.land(at(0), [event("c", "click", at(0), "a"), event("i", "impression", at(0), "b"), *twice])
    run(raw_lake, "ad_engagement", at(0), at(1))
    found = rows(raw_lake, "ad_engagement", at(0))
    assert (found["a"]["clicks_7d"], found["a"]["ctr_7d"]) == (1, None)
    assert (found["b"]["clicks_7d"], found["b"]["ctr_7d"]) == (2, 2)
    overall = (3 + 1) / (1 + 20)
    prior = (3 + 100 * overall) / (1 + 100)
    assert found["b"]["ctr_7d_smoothed"] == pytest.approx((2 + 20 * prior) / (1 + 20))
    assert found["a"]["ctr_7d_smoothed"] == pytest.approx((1 + 20 * prior) / 20)


def test_windows_of_a_random_log_are_what_counting_by_hand_gives(raw_lake: TestLake, spark: SparkSession) -> None:
    rng = random.Random(7)
    owners = {f"ad{n}": f"seller{n % 3}" for n in range(9)}
    log: dict[str, dict[str, Any]] = {}
    for number in range(600):
        moment = at(rng.randrange(176), rng.randrange(60))
        kind = rng.choices(("impression", "click", "contact", "sale"), (6, 3, 2, 1))[0]
        log[f"e{number}"] = event(f"e{number}", kind, moment, rng.choice(sorted(owners)))
    landed: list[dict[str, Any]] = []
    for number in range(176):
        landed += (of_hour := [e for e in log.values() if floor_hour(e["event_time"]) == at(number)])
        raw_lake.land(at(number), [*of_hour, *rng.sample(landed[-20:], min(2, len(landed)))])
    for ad_id, owner in owners.items():
        raw_lake.change("ads", at(0), "r", ad(ad_id, 1, seller=owner))
    run(raw_lake, "ad_engagement", at(172), at(176))
    run(raw_lake, "seller_stats", at(172), at(176))

    def counted(hour: int, ads: set[str]) -> list[int]:
        window = [e for e in log.values() if at(hour - 167) <= e["event_time"] < at(hour + 1) and e["ad_id"] in ads]
        return [sum(e["event_type"] == kind for e in window) for kind in ("impression", "click", "contact")]

    for hour in (172, 174, 175):
        by_ad = rows(raw_lake, "ad_engagement", at(hour))
        for ad_id in owners:
            shown, clicks, contacts = counted(hour, {ad_id})
            row = by_ad[ad_id]
            assert [row["impressions_7d"], row["clicks_7d"], row["contacts_7d"]] == [shown, clicks, contacts]
            assert row["ctr_7d"] == (pytest.approx(clicks / shown) if shown else None)
        by_seller = rows(raw_lake, "seller_stats", at(hour))
        for seller in set(owners.values()):
            shown, _, contacts = counted(hour, {a for a, owner in owners.items() if owner == seller})
            row = by_seller[seller]
            assert [row["seller_impressions_7d"], row["seller_contacts_7d"]] == [shown, contacts]
            assert row["seller_avg_contact_rate"] == pytest.approx(contacts / shown)
            assert row["seller_item_count"] == 3


def test_ad_attributes_are_what_was_true_at_the_end_of_the_hour(raw_lake: TestLake, spark: SparkSession) -> None:
    for hour in range(3):
        raw_lake.land(at(hour), [])
    raw_lake.change("ads", at(0, 1), "c", ad("a", 100, created=at(-48)))
    raw_lake.change("ads", at(0, 2), "c", ad("b", 300))
    raw_lake.change("ads", at(1, 30), "u", ad("a", 500, created=at(-48)))
    raw_lake.change("ads", at(2, 30), "d", ad("b", 300))
    run(raw_lake, "ad_attributes", at(0), at(3))

    before = rows(raw_lake, "ad_attributes", at(0))
    assert before["a"]["price_deviation_from_category_mean"] == pytest.approx(100 / 200 - 1)
    assert before["a"]["days_since_creation"] == 2
    assert before["b"]["days_since_creation"] is None
    after = rows(raw_lake, "ad_attributes", at(1))
    assert after["a"]["price_deviation_from_category_mean"] == pytest.approx(500 / 400 - 1)
    assert set(rows(raw_lake, "ad_attributes", at(2))) == {"a"}, "a deleted ad is gone"


def test_a_query_sees_the_catalogue_as_far_back_as_its_group_declares(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(200), [])
    raw_lake.change("ads", at(0), "c", ad("a", 100))
    raw_lake.change("ads", at(50), "u", ad("a", 150))
    run(raw_lake, "ad_attributes", at(200), at(201))
    assert rows(raw_lake, "ad_attributes", at(200))["a"]["price_change_7d"] == 0.5


def test_an_hour_reads_no_change_data_of_days_that_its_group_does_not_look_back_to(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    for hour in range(24, 26):
        raw_lake.land(at(hour), [event(f"i{hour}", "impression", at(hour), "a")])
    raw_lake.change("ads", at(0), "c", ad("a", 100, seller="s1"))
    raw_lake.change("ads", at(23), "u", ad("a", 150, seller="s1"))
    run(raw_lake, "seller_stats", at(24), at(25))
    for hour in (0, 23):
        shutil.rmtree(raw_lake.path(lake.RAW_CDC("ads").hour(at(hour))))
    run(raw_lake, "seller_stats", at(25), at(26))
    assert rows(raw_lake, "seller_stats", at(25))["s1"]["seller_item_count"] == 1


def test_seller_stats_follow_the_seller_who_owned_the_ad(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [event("i1", "impression", at(0, 9), "a"), event("k1", "contact", at(0, 9), "a")])
    raw_lake.land(at(1), [event("i2", "impression", at(1, 50), "a")])
    raw_lake.change("ads", at(0), "r", ad("a", 1, seller="s1"))
    raw_lake.change("ads", at(1, 10), "u", ad("a", 1, seller="s2"))
    run(raw_lake, "seller_stats", at(0), at(2))
    found = rows(raw_lake, "seller_stats", at(1))
    assert (found["s1"]["seller_item_count"], found["s1"]["seller_avg_contact_rate"]) == (0, 1.0)
    assert (found["s2"]["seller_item_count"], found["s2"]["seller_impressions_7d"]) == (1, 1)


def test_an_hour_computed_alone_has_the_digest_that_it_has_in_a_range(raw_lake: TestLake, spark: SparkSession) -> None:
    for hour in range(4):
        raw_lake.land(at(hour), [event(f"i{hour}-{n}", "impression", at(hour, n), f"ad{n % 3}") for n in range(20)])
    run(raw_lake, "ad_engagement", at(0), at(4))
    in_range = manifest(raw_lake, "ad_engagement", at(2))
    run(raw_lake, "ad_engagement", at(2), at(3))
    alone = manifest(raw_lake, "ad_engagement", at(2))
    assert alone.content_digest == in_range.content_digest
    assert alone.rows == 3
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    run(raw_lake, "ad_engagement", at(2), at(3))
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert manifest(raw_lake, "ad_engagement", at(2)).content_digest == alone.content_digest


def test_the_mean_price_does_not_depend_on_the_order_of_the_changes(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [])
    digests = set()
    for prices in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.3, 0.1, 0.2)):
        changes = [
            {"op": "r", "ts_ms": int(at(0).timestamp() * 1000), "after": ad(f"a{price}", price), "source": {"lsn": 1}}
            for price in prices
        ]
        shutil.rmtree(raw_lake.path(lake.RAW_CDC("ads").prefix), ignore_errors=True)
        raw_lake.changes("ads", at(0), changes)
        run(raw_lake, "ad_attributes", at(0), at(1))
        digests.add(manifest(raw_lake, "ad_attributes", at(0)).content_digest)
        assert rows(raw_lake, "ad_attributes", at(0))["a0.2"]["price_deviation_from_category_mean"] == 0
    assert len(digests) == 1


def test_what_a_killed_step_left_behind_does_not_come_in(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [event("i1", "impression", at(0), "a")])
    run(raw_lake, "ad_engagement", at(0), at(1))
    written = manifest(raw_lake, "ad_engagement", at(0))
    group = raw_lake.path("features/ad_engagement")
    partition = raw_lake.path(lake.FEATURES("ad_engagement").revision(at(0), 0))
    for left in ("_temporary/0/task_202603010000001_0001_m_000000", ".spark-staging-dead"):
        folder = group / left / partition.relative_to(group)
        folder.mkdir(parents=True)
        shutil.copy(partition / written.files[0], folder / "part-00000-dead.c000.snappy.parquet")
    raw_lake.path(lake.FEATURES("ad_engagement").manifest(at(0))).unlink()
    run(raw_lake, "ad_engagement", at(0), at(1))
    again = manifest(raw_lake, "ad_engagement", at(0))
    assert (again.rows, again.content_digest) == (written.rows, written.content_digest)
    assert len(list(partition.glob("*.parquet"))) == 1


def test_other_content_has_another_digest(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [event("i1", "impression", at(0), "a")])
    run(raw_lake, "ad_engagement", at(0), at(1))
    before = manifest(raw_lake, "ad_engagement", at(0)).content_digest
    raw_lake.land(at(0), [event("i1", "impression", at(0), "a"), event("i2", "impression", at(0), "a")])
    run(raw_lake, "ad_engagement", at(0), at(1))
    assert manifest(raw_lake, "ad_engagement", at(0)).content_digest != before


def test_rows_say_what_they_describe_and_from_when_they_may_be_seen(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [event("i1", "impression", at(0), "a")])
    run(raw_lake, "ad_engagement", at(0), at(1))
    row = rows(raw_lake, "ad_engagement", at(0))["a"]
    assert row["feature_time"] == at(1)
    assert row["available_at"] == at(1, 10)
    assert list(row)[3:] == list(registry.load().group("ad_engagement").names)
    assert not math.isnan(row["impressions_7d"])


@pytest.mark.parametrize("group", registry.load().groups, ids=lambda group: group.name)
def test_a_query_reads_what_its_group_declares(group: FeatureGroup) -> None:
    views = {"events": "events", "ads_history": "ads", "sellers_history": "sellers"}
    files = [SQL / folder / f"{group.name}.sql" for folder in ("tiles", "features")]
    query = re.sub(r"--.*", "", "".join(file.read_text() for file in files if file.exists()))
    assert {views[name] for name in re.findall(rf"\b({'|'.join(views)})\b", query)} == set(group.inputs)


def test_a_log_without_a_catalogue_has_empty_partitions_and_manifests(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [event("i1", "impression", at(0), "a")])
    run(raw_lake, "ad_attributes", at(0), at(1))
    assert manifest(raw_lake, "ad_attributes", at(0)).rows == 0


@pytest.mark.parametrize(("first", "missing"), [(0, r"1 raw hour.*2026-03-01T01:00"), (-500, r"501 raw hour")])
def test_a_hole_in_the_log_is_refused_by_name(
    raw_lake: TestLake, spark: SparkSession, first: int, missing: str
) -> None:
    raw_lake.land(at(first), [])
    for hour in range(2, 169):
        raw_lake.land(at(hour), [])
    with pytest.raises(PartsFailedError, match=f"HourNotReadyError: .*{missing}"):
        run(raw_lake, "ad_engagement", at(168), at(169))


def test_hours_before_the_first_that_landed_are_empty(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(5), [])
    run(raw_lake, "ad_engagement", at(5), at(6))
    assert manifest(raw_lake, "ad_engagement", at(5)).rows == 0


def test_a_torn_hour_is_refused(raw_lake: TestLake, spark: SparkSession) -> None:
    raw_lake.land(at(0), [event("i1", "impression", at(0), "a")])
    path = raw_lake.path(lake.RAW_EVENTS.manifest(at(0)))
    path.write_text(path.read_text().replace('"rows":1', '"rows":2'))
    with pytest.raises(
        PartsFailedError, match=r"RawHourTornError: .*hr=00/part-0\.parquet holds 1 rows, its manifest says 2"
    ):
        run(raw_lake, "ad_engagement", at(0), at(1))
    (path.parent / "part-0.parquet").unlink()
    with pytest.raises(PartsFailedError, match=r"RawHourTornError: .*hr=00/part-0\.parquet is missing"):
        run(raw_lake, "ad_engagement", at(0), at(1))


def test_old_windows_go_unless_a_backfill_of_their_days_may_be_under_way(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    raw_lake.land(at(0), [event("i", "impression", at(0), "a")])
    written = {at(-125): timedelta(hours=25), at(-150): timedelta(hours=23), at(-90): timedelta(hours=90)}
    for hour, age in written.items():
        kept = raw_lake.path(lake.WINDOWS("ad_engagement").hour(hour)) / "part-0.parquet"
        kept.parent.mkdir(parents=True)
        kept.touch()
        os.utime(kept, times=(0, time.time() - age.total_seconds()))
    run(raw_lake, "ad_engagement", at(0), at(1))
    days = {path.name for path in raw_lake.path(lake.WINDOWS("ad_engagement").prefix).iterdir()}
    assert days == {f"dt={hour:%Y-%m-%d}" for hour in (at(-150), at(-90), at(0))}
