"""What must hold of a feature group's rows: derived from the registry, and by hand across columns.

Values may be missing where the registry's range is concerned; keys may not.
"""

from __future__ import annotations

from typing import Any, Final

import great_expectations as gx
from great_expectations import expectations as gxe

from adrank.contracts.registry import FeatureGroup

#: (larger, smaller, least share of rows): a window can hold a click whose impression it has just lost.
_AT_LEAST: Final[dict[str, tuple[tuple[str, str, float], ...]]] = {
    "ad_engagement": (("impressions_7d", "clicks_7d", 0.999), ("impressions_7d", "contacts_7d", 0.999)),
    "seller_stats": (("seller_impressions_7d", "seller_contacts_7d", 0.999),),
}


def suite(group: FeatureGroup) -> gx.ExpectationSuite:
    """The suite of a feature group."""
    columns = ["entity_id", "feature_time", "available_at", *group.names]
    expected: list[Any] = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=columns),
        gxe.ExpectColumnValuesToNotBeNull(column="entity_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="feature_time"),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["entity_id", "feature_time"]),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="available_at", column_B="feature_time", or_equal=True),
    ]
    for feature in group.features:
        low, high = feature.range
        expected.append(
            gxe.ExpectColumnValuesToBeBetween(column=feature.name, min_value=low, max_value=high, mostly=feature.mostly)
        )
    for larger, smaller, mostly in _AT_LEAST.get(group.name, ()):
        expected.append(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=larger, column_B=smaller, or_equal=True, mostly=mostly)
        )
    return gx.ExpectationSuite(name=group.name, expectations=expected)
