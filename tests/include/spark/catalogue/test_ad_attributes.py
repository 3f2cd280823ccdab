"""What every live ad was at the end of each hour, against the same said in Python."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any, Final, NamedTuple

import pytest
from pyspark.sql import SparkSession

from adrank.contracts import registry
from adrank.contracts.timestamps import HOUR
from tests.support.spark_lake import at

pytestmark = pytest.mark.spark

QUERY: Final = Path("include/sql/features/ad_attributes.sql")
WEEK: Final = timedelta(hours=168)
SCHEMA: Final = (
    "ad_id string, category string, title string, price double, created_at timestamp, image_quality_score double, "
    "valid_from timestamp, valid_to timestamp"
)
Features = dict[str, float | None]


class Version(NamedTuple):
    """A row of ``ads_history``."""

    ad_id: str
    category: str | None
    title: str | None
    price: float | None
    created_at: datetime | None
    image_quality_score: float | None
    valid_from: datetime
    valid_to: datetime

    def holds_at(self, moment: datetime) -> bool:
        return self.valid_from < moment <= self.valid_to


def ad(ad_id: str, start: datetime, end: datetime, price: float | None = 10, **other: Any) -> Version:
    price = None if price is None else float(price)
    columns = {"category": "c", "title": None, "created_at": None, "image_quality_score": None, **other}
    return Version(ad_id=ad_id, price=price, valid_from=start, valid_to=end, **columns)


def computed(
    spark: SparkSession, history: Sequence[Version], hours: Iterable[datetime]
) -> dict[datetime, dict[str, Features]]:
    """Features by hour end and ad."""
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.createDataFrame(history, SCHEMA).createOrReplaceTempView("ads_history")
    rows = ", ".join(f"({int(hour.timestamp())})" for hour in hours)
    spark.sql(
        "SELECT timestamp_seconds(second) AS hour, timestamp_seconds(second + 3600) AS hour_end "
        f"FROM VALUES {rows} AS hours(second)"
    ).createOrReplaceTempView("hours")
    names = registry.load().group("ad_attributes").names
    found: dict[datetime, dict[str, Features]] = defaultdict(dict)
    for row in spark.sql(QUERY.read_text()).selectExpr("unix_timestamp(hour) h", "entity_id", *names).collect():
        end = datetime.fromtimestamp(row["h"], at(0).tzinfo) + HOUR
        assert row["entity_id"] not in found[end], "one row for an ad and hour"
        found[end][row["entity_id"]] = {name: row[name] for name in names}
    return dict(found)


def expected(history: Sequence[Version], end: datetime) -> dict[str, Features]:
    live = {version.ad_id: version for version in history if version.holds_at(end)}
    changes = {ad_id: change(history, version, end) for ad_id, version in live.items()}
    found: dict[str, Features] = {}
    for ad_id, version in live.items():
        others = [other for other in live.values() if other.category == version.category]
        price = average(other.price for other in others)
        moved = average(changes[other.ad_id] for other in others)
        found[ad_id] = {
            "days_since_creation": None if version.created_at is None else max((end - version.created_at).days, 0),
            "price": version.price,
            "price_deviation_from_category_mean": over(version.price, price),
            "price_change_7d": changes[ad_id],
            "price_change_7d_to_category": less(changes[ad_id], moved),
            "image_quality_score": version.image_quality_score,
            "title_length": None if version.title is None else len(version.title),
        }
    return found


def change(history: Sequence[Version], version: Version, end: datetime) -> float | None:
    """Over the first known price of the ad in the 168 hours."""
    known = [v for v in history if v.ad_id == version.ad_id and v.valid_to >= end - WEEK and v.price is not None]
    return over(version.price, min(known, key=lambda v: v.valid_from).price) if known else None


def over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base - 1


def less(value: float | None, mean: float | None) -> float | None:
    return None if value is None or mean is None else value - mean


def average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def assert_same(found: Mapping[str, Features], wanted: Mapping[str, Features]) -> None:
    assert found.keys() == wanted.keys()
    for ad_id, features in wanted.items():
        assert found[ad_id] == pytest.approx(features, abs=1e-8), ad_id


def test_each_feature_by_hand(spark: SparkSession) -> None:
    history = [
        ad("steady", at(-900), at(9999), 100, title="Stühle", created_at=at(-49), image_quality_score=0.5),
        ad("dearer", at(-900), at(-100), 100),
        ad("dearer", at(-100), at(9999), 150),
        ad("young", at(-2), at(-1), 40),
        ad("young", at(-1), at(9999), 50),
        ad("ended", at(-900), at(0, 59)),
        ad("alone", at(-900), at(9999), 7, category=None),
        ad("free", at(-900), at(-50), 0, category="gifts"),
        ad("free", at(-50), at(9999), 5, category="gifts"),
        ad("unpriced", at(-900), at(9999), None, category="gifts", created_at=at(50)),
    ]
    found = computed(spark, history, [at(0)])[at(1)]
    assert_same(found, expected(history, at(1)))
    assert found["steady"] == pytest.approx(
        {
            "days_since_creation": 2,
            "price": 100,
            "price_deviation_from_category_mean": 0,
            "price_change_7d": 0,
            "price_change_7d_to_category": -0.25,
            "image_quality_score": 0.5,
            "title_length": 6,
        }
    )
    changes = {ad_id: features["price_change_7d"] for ad_id, features in found.items()}
    assert changes == {"steady": 0, "dearer": 0.5, "young": 0.25, "alone": 0, "free": None, "unpriced": None}
    assert found["unpriced"]["days_since_creation"] == 0
    assert found["alone"]["price_change_7d_to_category"] == 0


def test_a_price_changes_the_feature_until_168_hours_have_passed(spark: SparkSession) -> None:
    history = [ad("a", at(-900), at(0), 10), ad("a", at(0), at(9999), 20)]
    found = computed(spark, history, [at(hour) for hour in (-2, -1, 0, 166, 167, 168)])
    assert [features["a"]["price_change_7d"] for _, features in sorted(found.items())] == [0, 0, 1, 1, 1, 0]


def random_history(pick: random.Random) -> list[Version]:
    """Ads that come, go, come again and change, some without a price, category or title."""
    history: list[Version] = []
    for number in range(40):
        moment = at(pick.randrange(-600, 200))
        while moment < at(260):
            end = moment + pick.randrange(1, 400) * timedelta(minutes=45)
            price = pick.choice((None, 0, *(pick.uniform(1, 90) for _ in range(8))))
            category = pick.choice((None, "a", "b", "c"))
            title = pick.choice((None, "", "x" * pick.randrange(50)))
            history.append(ad(f"ad-{number}", moment, end, price, category=category, title=title))
            moment = end + pick.choice((0, 0, 0, 1)) * timedelta(hours=pick.randrange(1, 300))
    return history


def test_an_hour_alone_and_in_a_range_is_what_python_says(spark: SparkSession) -> None:
    history = random_history(random.Random(5))
    hours = [at(hour) for hour in (0, 1, 30, 168, 190)]
    start = hours[0] - WEEK
    in_range = computed(spark, [v for v in history if v.valid_to > start and v.valid_from < at(191)], hours)
    for hour in hours:
        assert_same(in_range[hour + HOUR], expected(history, hour + HOUR))
    (alone,) = hours[3:4]
    known = [v for v in history if v.valid_to > alone - WEEK and v.valid_from < alone + HOUR]
    random.Random(6).shuffle(known)
    assert computed(spark, known, [alone])[alone + HOUR] == in_range[alone + HOUR], "to the last bit"
