"""Every feature of the registry is expected of the rows, in its order and range."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adrank.contracts import registry
from adrank.contracts.registry import FeatureGroup
from expectations.feature_suite import suite

GROUPS = registry.load().groups
END = datetime(2026, 3, 1, 13, tzinfo=UTC)


def expected(group: FeatureGroup, kind: str) -> list[Any]:
    return [e for e in suite(group, [END]).expectations if e.expectation_type == kind]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_group_is_expected_to_have_its_columns_in_packing_order(group: FeatureGroup) -> None:
    (columns,) = expected(group, "expect_table_columns_to_match_ordered_list")
    assert columns.column_list == ["entity_id", "feature_time", "available_at", *group.names]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_every_feature_is_expected_in_the_range_that_the_registry_declares(group: FeatureGroup) -> None:
    ranges = {e.column: (e.min_value, e.max_value) for e in expected(group, "expect_column_values_to_be_between")}
    assert ranges == {feature.name: feature.range for feature in group.features}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_an_entity_is_expected_once_per_hour_and_only_in_the_hours_asked_for(group: FeatureGroup) -> None:
    (unique,) = expected(group, "expect_compound_columns_to_be_unique")
    assert unique.column_list == ["entity_id", "feature_time"]
    (times,) = expected(group, "expect_column_values_to_be_in_set")
    assert (times.column, times.value_set) == ("feature_time", [END])


def test_expectations_written_by_hand_name_features_that_exist() -> None:
    for group in GROUPS:
        pairs = expected(group, "expect_column_pair_values_a_to_be_greater_than_b")
        assert pairs
        for pair in pairs:
            assert {pair.column_A, pair.column_B} <= {"feature_time", "available_at", *group.names}
