"""The feature registry, and what may not be declared in it."""

from __future__ import annotations

import math
from typing import Final

import pytest
from pydantic import ValidationError

from adrank.contracts import registry
from adrank.contracts.registry import RegistryMismatchError

DECLARED: Final = """
groups:
  clicks:
    entity: ad
    inputs: [events]
    aggregation: {measures: [clicks, views], windows: {1h: 1, 24h: 24}, latest: [clicks]}
    store: redis
    cadence_minutes: 60
    lag_minutes: 10
    ttl_hours: 12
    owner: ml-ranking
    description: Clicks.
    features:
      - {name: clicks, default: 0, range: [0, 10], description: Clicks.}
      - {name: ctr, default: null, range: [0, 1], description: Rate.}
"""


def test_this_installation_has_the_features_of_the_design() -> None:
    names = {feature.name for feature in registry.load().features}
    assert names >= {
        "ctr_7d",
        "days_since_creation",
        "price_deviation_from_category_mean",
        "image_quality_score",
        "seller_avg_contact_rate",
        "seller_item_count",
    }


def test_the_serving_vector_is_the_groups_in_declaration_order() -> None:
    loaded = registry.load()
    assert [f.name for f in loaded.features] == [name for group in loaded.groups for name in group.names]


def test_each_store_serves_its_own_groups() -> None:
    loaded = registry.load()
    assert {g.name for g in loaded.in_store("redis")} | {g.name for g in loaded.in_store("dynamodb")} == {
        g.name for g in loaded.groups
    }
    assert not set(loaded.in_store("redis")) & set(loaded.in_store("dynamodb"))


def test_groups_are_found_by_what_they_read() -> None:
    loaded = registry.load()
    assert {group.name for group in loaded.with_input("events")} == {"ad_engagement", "seller_stats", "user_affinity"}
    assert [group.name for group in loaded.with_input("sellers")] == ["seller_stats"]


def test_windows_are_named_by_measure_and_window() -> None:
    aggregation = registry.parse(DECLARED).group("clicks").aggregation
    assert aggregation is not None
    assert aggregation.sums == (
        ("clicks_1h", "clicks", 1),
        ("views_1h", "views", 1),
        ("clicks_24h", "clicks", 24),
        ("views_24h", "views", 24),
    )


def test_a_missing_default_is_nan() -> None:
    clicks, ctr = registry.parse(DECLARED).group("clicks").features
    assert clicks.default_value == 0
    assert math.isnan(ctr.default_value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: clicks,", "name: taps,"),
        ("entity: ad", "entity: seller"),
        (
            "      - {name: clicks, default: 0, range: [0, 10], description: Clicks.}\n"
            "      - {name: ctr, default: null, range: [0, 1], description: Rate.}\n",
            "      - {name: ctr, default: null, range: [0, 1], description: Rate.}\n"
            "      - {name: clicks, default: 0, range: [0, 10], description: Clicks.}\n",
        ),
    ],
    ids=["renamed", "other entity", "reordered"],
)
def test_the_fingerprint_changes_with_the_layout(before: str, after: str) -> None:
    assert before in DECLARED
    changed = registry.parse(DECLARED.replace(before, after))
    assert changed.fingerprint != registry.parse(DECLARED).fingerprint
    assert changed.groups[0].fingerprint != registry.parse(DECLARED).groups[0].fingerprint


@pytest.mark.parametrize(
    ("before", "after"),
    [("ttl_hours: 12", "ttl_hours: 13"), ("Rate.", "The rate."), ("inputs: [events]", "inputs: [events, ads]")],
)
def test_the_fingerprint_is_of_the_layout_alone(before: str, after: str) -> None:
    assert before in DECLARED
    assert registry.parse(DECLARED.replace(before, after)).fingerprint == registry.parse(DECLARED).fingerprint


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("name: ctr", "name: clicks", "features declared more than once: clicks"),
        ("ttl_hours: 12", "ttl_hours: 2", "group clicks: ttl_hours must be at least three cadences"),
        ("store: redis", "store: memcached", "store"),
        ("name: ctr", "name: Ctr-7d", "pattern"),
        ("description: Rate.", "description: ''", "description"),
        ("owner: ml-ranking", "owners: ml-ranking", "owners"),
        ("inputs: [events]", "inputs: [views]", "inputs"),
        ("    inputs: [events]\n", "", "inputs"),
        (
            "inputs: [events]",
            "inputs: [ads]",
            "group clicks: a group has an aggregation if and only if it reads events",
        ),
        ("ttl_hours: 12", "ttl_hours: 12\n    lookback_hours: 1", "lookback_hours is for a group that reads ads"),
        ("24h: 24", "24h: 673", "windows 24h: must be between 1 and 672 hours"),
        ("latest: [clicks]", "latest: [taps]", "latest names no measure: taps"),
    ],
)
def test_an_impossible_declaration_is_refused(before: str, after: str, reason: str) -> None:
    assert before in DECLARED
    with pytest.raises(ValidationError, match=reason):
        registry.parse(DECLARED.replace(before, after))


def test_an_unknown_group_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(KeyError, match=r"no feature group 'views'; the registry has clicks"):
        registry.parse(DECLARED).group("views")


def test_another_registry_is_refused_by_the_features_that_differ() -> None:
    ours = registry.parse(DECLARED)
    ours.require(ours.fingerprint, (), "this model")
    other = registry.parse(DECLARED.replace("name: ctr", "name: dwell"))
    with pytest.raises(RegistryMismatchError, match=r"model m.*only there: dwell; only here: ctr"):
        ours.require(other.fingerprint, [f.name for f in other.features], "model m")
