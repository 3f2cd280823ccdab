"""Which features are windows of one measure, and which answer another, is read off the registry."""

from __future__ import annotations

import pytest

from adrank.contracts import registry
from expectations.feature_suite import relations


def named(group: str) -> dict[str, str]:
    return {relation.name: relation.difference for relation in relations(registry.load().group(group))}


@pytest.mark.parametrize("measure", ["impressions", "clicks", "contacts", "revenue"])
def test_each_window_of_a_measure_has_no_less_than_the_next_shorter_one(measure: str) -> None:
    steps = f"{measure}_24h - {measure}_1h, {measure}_7d - {measure}_24h, {measure}_28d - {measure}_7d"
    assert named("ad_engagement")[f"{measure}_that_longer_windows_add"] == f"least({steps})"


@pytest.mark.parametrize("window", ["1h", "24h", "7d", "28d"])
@pytest.mark.parametrize("answer", ["clicks", "contacts"])
def test_answers_are_compared_with_enough_impressions_of_the_same_window(answer: str, window: str) -> None:
    shown, answered = f"impressions_{window}", f"{answer}_{window}"
    difference = named("ad_engagement")[f"{shown}_without_{answer}"]
    assert difference == f"CASE WHEN {shown} >= 20 THEN {shown} - {answered} END"


def test_a_measure_is_recognised_behind_the_name_of_its_entity() -> None:
    assert set(named("seller_stats")) == {"seller_impressions_7d_without_contacts"}


def test_a_group_that_counts_nothing_or_shows_one_window_has_no_relations() -> None:
    assert not named("ad_attributes")
    assert not named("user_affinity")
