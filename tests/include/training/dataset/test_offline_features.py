"""A row of a stored feature is seen from when it became available until it expires, and its files must fit."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import get_args

import pyarrow.parquet as pq
import pytest

from adrank.contracts import registry
from adrank.contracts.registry import Entity, user_category
from tests.include.training.logs import (
    BACKGROUND,
    HOUR,
    MINUTE,
    NOON,
    Log,
    answered,
    engagement,
    write_ads,
    write_features,
    write_partition,
)
from training.dataset import offline_features
from training.dataset.offline_features import FeatureFilesError


def test_a_row_available_at_the_impression_is_seen_and_a_microsecond_later_is_not(log: Log) -> None:
    for group, name, available_at in (
        ("ad_engagement", "impressions_7d", NOON),
        ("ad_attributes", "title_length", NOON + timedelta(microseconds=1)),
    ):
        write_features(log.root / "in", group, [("a", NOON - HOUR, available_at, {name: 7})])
    log.build(BACKGROUND, features=log.root / "in")
    assert log.row("q1", "a")["impressions_7d"] == 7
    assert math.isnan(log.row("q1", "a")["title_length"]), "the row of the future leaked"
    assert log.row("q2", "a")["title_length"] == 7


def test_the_newest_visible_row_wins(log: Log) -> None:
    log.build(BACKGROUND, features=engagement(log.root / "in", ("a", -2, 1), ("a", -1, 2), ("a", 0, 3)))
    assert [log.row(q, "a")["impressions_7d"] for q in ("q1", "q2")] == [2, 3]


def test_a_late_revision_of_an_old_hour_does_not_hide_a_newer_hour(log: Log) -> None:
    features = log.root / "in"
    for end, available_at, revision, value in (
        (NOON - 5 * HOUR, NOON - 290 * MINUTE, 0, 2),
        (NOON - HOUR, NOON - 50 * MINUTE, 0, 5),
        (NOON - 5 * HOUR, NOON - 20 * MINUTE, 1, 1),
        (NOON - HOUR, NOON + 30 * MINUTE, 1, 6),
    ):
        write_features(features, "ad_engagement", [("a", end, available_at, {"impressions_7d": value})], revision)
    log.build(BACKGROUND, features=features)
    assert log.row("q1", "a")["impressions_7d"] == 5
    assert log.row("q2", "a")["impressions_7d"] == 6, "a later revision of the same hour replaces it"


def test_no_row_gives_the_registry_default_and_a_null_in_a_row_gives_nan(log: Log) -> None:
    log.build(BACKGROUND, features=engagement(log.root / "in", ("a", -1, 4)))
    absent, null = log.row("q1", "b"), log.row("q1", "a")
    assert absent["impressions_7d"] == 0
    assert math.isnan(absent["ctr_7d"])
    assert math.isnan(null["ctr_7d"])
    assert math.isnan(null["clicks_7d"]), "null in a row is missing, whatever the default for no row"


def test_a_row_older_than_the_ttl_has_expired_as_it_has_online(log: Log) -> None:
    ttl = registry.load().group("ad_engagement").ttl_hours * HOUR
    row = ("a", NOON - ttl, NOON - HOUR, {"impressions_7d": 4})
    rows = [*answered("q1", NOON), *answered("q2", NOON + timedelta(microseconds=1))]
    log.build(rows, features=write_features(log.root / "in", "ad_engagement", [row]))
    assert [log.row(q, "a")["impressions_7d"] for q in ("q1", "q2")] == [4, 0]


@pytest.mark.parametrize("user", ["u", "u|1", "100%", "%7C|%25", "a%|b"])
def test_a_user_and_category_are_spelled_as_the_online_store_spells_them(log: Log, user: str) -> None:
    entity, category = user_category(user, "c|%"), "c|%"
    assert entity is not None
    row = (entity, NOON - HOUR, NOON - HOUR, {"user_category_clicks_28d": 5})
    ads = write_ads(log.root / "ads", [("a", {"category": category}, NOON)])
    rows = [row | {"user_id": user} for row in BACKGROUND]
    log.build(rows, features=write_features(log.root / "in", "user_affinity", [row]), ads=ads)
    assert log.row("q1", "a")["user_category_clicks_28d"] == 5


def test_every_entity_of_the_registry_has_a_key_to_join_by() -> None:
    assert set(offline_features._ENTITY_KEYS) == set(get_args(Entity))


def test_a_feature_file_that_lacks_a_column_or_has_another(log: Log) -> None:
    directory = engagement(log.root / "in", ("a", 0, 1))
    (path,) = directory.rglob("*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.rename_columns({"clicks_7d": "clicks_30d"}), path)
    with pytest.raises(FeatureFilesError, match="ad_engagement: lacks clicks_7d, has unknown clicks_30d"):
        log.build(BACKGROUND, features=directory)


def test_features_of_another_registry(log: Log) -> None:
    features = write_partition(log.root / "in", "ad_engagement", NOON, NOON, {}, fingerprint="0" * 64)
    with pytest.raises(FeatureFilesError, match="ad_engagement was computed against fingerprint 000000000000"):
        log.build(BACKGROUND, features=features)
