"""What must hold of a feature group's rows: derived from the registry, and by hand across columns.

Values may be missing where the registry's range is concerned; keys may not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import great_expectations as gx
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column

from adrank.contracts.registry import FeatureGroup

#: (larger, smaller). One window can hold a click whose impression it has just lost, and one impression can be clicked
#: twice; so only rows with enough impressions to tell are looked at, and few of those may differ.
_AT_LEAST: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "ad_engagement": (("impressions_7d", "clicks_7d"), ("impressions_7d", "contacts_7d")),
    "seller_stats": (("seller_impressions_7d", "seller_contacts_7d"),),
}
_ENOUGH: Final = 20
_MOSTLY: Final = 0.95


def suite(group: FeatureGroup, hour_ends: Iterable[datetime]) -> gx.ExpectationSuite:
    """The suite of a feature group's rows of the hours that end at ``hour_ends``."""
    columns = ["entity_id", "feature_time", "available_at", *group.names]
    expected: list[Any] = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=columns),
        gxe.ExpectColumnValuesToNotBeNull(column="entity_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="feature_time"),
        gxe.ExpectColumnValuesToBeInSet(column="feature_time", value_set=list(hour_ends)),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["entity_id", "feature_time"]),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="available_at", column_B="feature_time", or_equal=True),
    ]
    for feature in group.features:
        low, high = feature.range
        expected.append(
            gxe.ExpectColumnValuesToBeBetween(column=feature.name, min_value=low, max_value=high, mostly=feature.mostly)
        )
    for larger, smaller in _AT_LEAST.get(group.name, ()):
        expected.append(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=larger,
                column_B=smaller,
                or_equal=True,
                mostly=_MOSTLY,
                row_condition=Column(larger) >= _ENOUGH,
            )
        )
    return gx.ExpectationSuite(name=group.name, expectations=expected)
