"""Every feature of the registry is expected of the rows, in its order, type and range."""

from __future__ import annotations

from typing import Any

import pytest

from adrank.contracts import registry
from adrank.contracts.registry import FeatureGroup
from expectations.count_only import type_name, with_unexpected_rows
from expectations.feature_suite import relations, suite

GROUPS = registry.load().groups
KEYS = ["entity_id", "feature_time", "available_at"]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def expected(group: FeatureGroup, kind: str) -> list[Any]:
    return [e for e in suite(group).expectations if type_name(e.expectation_type) == kind]


@every_group
def test_a_group_is_expected_to_have_its_columns_in_packing_order(group: FeatureGroup) -> None:
    (columns,) = expected(group, "expect_table_columns_to_match_ordered_list")
    assert columns.column_list[: len(KEYS) + len(group.names)] == [*KEYS, *group.names]


@every_group
def test_a_group_is_expected_to_have_the_types_that_it_packs(group: FeatureGroup) -> None:
    types = {e.column: e.type_ for e in expected(group, "expect_column_values_to_be_of_type")}
    assert types == {
        "entity_id": "StringType",
        "feature_time": "TimestampType",
        "available_at": "TimestampType",
        **dict.fromkeys(group.names, "FloatType"),
    }


@every_group
def test_every_feature_is_expected_in_the_range_that_the_registry_declares(group: FeatureGroup) -> None:
    ranges = {
        e.column: (e.min_value, e.max_value, e.mostly) for e in expected(group, "expect_column_values_to_be_between")
    }
    assert {name: ranges[name] for name in group.names} == {
        feature.name: (*feature.range, feature.mostly) for feature in group.features
    }


@every_group
def test_what_counts_as_nothing_without_a_row_is_never_missing_in_one(group: FeatureGroup) -> None:
    never_missing = {e.column for e in expected(group, "expect_column_values_to_not_be_null")}
    assert never_missing == {*KEYS, *(feature.name for feature in group.features if feature.default is not None)}


@every_group
def test_every_relation_between_columns_is_expected(group: FeatureGroup) -> None:
    between = {e.column: (e.min_value, e.mostly) for e in expected(group, "expect_column_values_to_be_between")}
    for relation in relations(group):
        assert between[relation.name] == (0, relation.mostly)


def test_what_failed_is_asked_again_as_great_expectations_asks_it() -> None:
    counted = next(e for e in expected(GROUPS[0], "expect_column_values_to_be_between") if e.column == "clicks_7d")
    again = with_unexpected_rows(counted.configuration)
    assert again.expectation_type == "expect_column_values_to_be_between"
    assert (again.column, again.min_value, again.max_value) == ("clicks_7d", 0, 1.0e9)
