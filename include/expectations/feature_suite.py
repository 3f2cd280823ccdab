"""What must hold of a feature group's rows: derived from the registry, and by hand across columns.

Every expectation counts rows, so that one pass over the data answers all of them. What compares columns is therefore
asked of their differences, columns that :func:`examined` adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import great_expectations as gx
from great_expectations import expectations as gxe

from adrank.contracts.registry import FeatureGroup
from expectations import count_only
from expectations.relations import relations

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_KEYS: Final = {"entity_id": "StringType", "feature_time": "TimestampType", "available_at": "TimestampType"}
_LAG: Final = "seconds_until_available"


def examined(rows: DataFrame, group: FeatureGroup) -> DataFrame:
    """``rows`` as they were written, with the differences that the suite looks at, where they have the columns."""
    there = set(rows.columns)
    return rows.selectExpr(
        "*",
        f"unix_seconds(available_at) - unix_seconds(feature_time) AS {_LAG}",
        *(f"{r.difference} AS {r.name}" for r in relations(group) if there.issuperset(r.columns)),
    )


def suite(group: FeatureGroup) -> gx.ExpectationSuite:
    """The suite of a group's rows as :func:`examined` gives them."""
    between = relations(group)
    types = {**_KEYS, **dict.fromkeys(group.names, "FloatType")}
    expected: list[Any] = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=[*types, _LAG, *(relation.name for relation in between)]),
        *(gxe.ExpectColumnValuesToBeOfType(column=name, type_=type_) for name, type_ in types.items()),
        *(count_only.CountedExpectColumnValuesToNotBeNull(column=name) for name in _KEYS),
        count_only.CountedExpectColumnValuesToBeBetween(column=_LAG, min_value=0),
    ]
    for feature in group.features:
        low, high = feature.range
        expected.append(
            count_only.CountedExpectColumnValuesToBeBetween(
                column=feature.name, min_value=low, max_value=high, mostly=feature.mostly
            )
        )
        if feature.default is not None:
            expected.append(count_only.CountedExpectColumnValuesToNotBeNull(column=feature.name))
    expected += [
        count_only.CountedExpectColumnValuesToBeBetween(column=relation.name, min_value=0, mostly=relation.mostly)
        for relation in between
    ]
    return gx.ExpectationSuite(name=group.name, expectations=expected)
