"""An entity that its group's newest partition does not have is served defaults, and trained on with defaults.

The push of an hour writes the registry's defaults for every entity of the hour before that is gone, for instance when
the last click of a user in a category leaves the window. Offline nothing says so but the partition without its row.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from adrank.contracts import registry
from tests.include.training.logs import HOUR, MINUTE, NOON, Log, answered, write_features, write_partition

GROUP, NAME, LAG = "ad_engagement", "impressions_7d", 10 * MINUTE
INSTANT = timedelta(microseconds=1)
TTL = registry.load().group(GROUP).ttl_hours * HOUR
DEFAULT = 0


def partition(log: Log, end: datetime, *, revision: int = 0, late: timedelta = timedelta(0), **ads: float) -> None:
    """Values by ad of the hour that ends at ``end``, visible the group's lag and ``late`` after that."""
    entities = {ad: {NAME: value} for ad, value in ads.items()}
    write_partition(log.root / "in", GROUP, end, end + LAG + late, entities, revision)


def seen(log: Log, *moments: datetime) -> list[dict[str, float]]:
    """What impressions of the ads a and b at these moments see."""
    searches = {f"q{number}": moment for number, moment in enumerate(moments)}
    rows = [row for search, moment in searches.items() for row in answered(search, moment)]
    manifest = log.build(rows, as_of=max(moments) + 24 * HOUR, features=log.root / "in")
    assert manifest.rows == manifest.impressions == 2 * len(moments)
    return [{ad: log.row(search, ad)[NAME] for ad in ("a", "b")} for search in searches]


def test_a_vanished_entity_has_defaults_once_the_next_partition_is_visible(log: Log) -> None:
    partition(log, NOON, a=5, b=3)
    partition(log, NOON + HOUR, b=4)
    visible = NOON + HOUR + LAG
    assert seen(log, NOON + LAG, visible - INSTANT, visible, visible + 20 * HOUR) == [
        {"a": 5, "b": 3},
        {"a": 5, "b": 3},
        {"a": DEFAULT, "b": 4},
        {"a": DEFAULT, "b": 4},
    ]


def test_an_entity_that_comes_back_has_its_values_again(log: Log) -> None:
    partition(log, NOON, a=5, b=3)
    partition(log, NOON + HOUR, b=4)
    partition(log, NOON + 2 * HOUR, a=6, b=5)
    assert seen(log, NOON + 2 * HOUR, NOON + 2 * HOUR + LAG) == [{"a": DEFAULT, "b": 4}, {"a": 6, "b": 5}]


def test_an_empty_partition_leaves_nobody_with_values(log: Log) -> None:
    partition(log, NOON, a=5, b=3)
    partition(log, NOON + HOUR)
    partition(log, NOON + 2 * HOUR, b=7)
    assert seen(log, NOON + HOUR, NOON + HOUR + LAG, NOON + 2 * HOUR + LAG) == [
        {"a": 5, "b": 3},
        {"a": DEFAULT, "b": DEFAULT},
        {"a": DEFAULT, "b": 7},
    ]


def test_a_late_revision_of_an_older_hour_brings_nobody_back(log: Log) -> None:
    partition(log, NOON, a=5, b=3)
    partition(log, NOON + HOUR, b=4)
    partition(log, NOON, revision=1, late=3 * HOUR, a=50, b=30)
    revised = NOON + LAG + 3 * HOUR
    assert seen(log, NOON + 2 * HOUR, revised - INSTANT, revised, revised + HOUR) == 4 * [{"a": DEFAULT, "b": 4}]


def test_a_late_revision_of_the_newest_hour_decides_who_is_there(log: Log) -> None:
    partition(log, NOON, a=5)
    partition(log, NOON, revision=1, late=HOUR, b=3)
    assert seen(log, NOON + HOUR, NOON + HOUR + LAG) == [{"a": 5, "b": DEFAULT}, {"a": DEFAULT, "b": 3}]


def test_a_missing_hour_says_nothing_of_anybody_until_the_last_one_has_expired(log: Log) -> None:
    partition(log, NOON, a=5, b=3)
    assert seen(log, NOON + 5 * HOUR, NOON + TTL, NOON + TTL + INSTANT) == [
        {"a": 5, "b": 3},
        {"a": 5, "b": 3},
        {"a": DEFAULT, "b": DEFAULT},
    ]


def test_before_any_partition_everybody_has_defaults(log: Log) -> None:
    partition(log, NOON, a=5, b=3)
    partition(log, NOON + HOUR, a=6, b=4)
    assert seen(log, NOON - HOUR, NOON + LAG - INSTANT, NOON + LAG) == [
        {"a": DEFAULT, "b": DEFAULT},
        {"a": DEFAULT, "b": DEFAULT},
        {"a": 5, "b": 3},
    ]


def test_a_group_without_partitions_does_not_decide_for_another(log: Log) -> None:
    partition(log, NOON - HOUR, a=5)
    write_features(log.root / "in", "ad_attributes", [("b", NOON, NOON, {"title_length": 9})])
    assert seen(log, NOON, NOON + HOUR) == 2 * [{"a": 5, "b": DEFAULT}]
    assert log.row("q0", "b")["title_length"] == 9
