"""What must hold of a feature group's rows: derived from the registry, and by hand across columns, of which a longer
window has no less, and nobody answers what was not shown.

Every expectation counts rows, so that one pass over the data answers all of them. What compares columns is therefore
asked of their differences, columns that :func:`with_lag_column` adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from adrank.contracts.registry import FeatureGroup

if TYPE_CHECKING:
    import great_expectations as gx
    from pyspark.sql import DataFrame

_KEYS: Final = {"entity_id": "StringType", "feature_time": "TimestampType", "available_at": "TimestampType"}
_LAG: Final = "seconds_until_available"
#: Measures of one and the same window: (larger, smaller).
_ANSWERS: Final = (("impressions", "clicks"), ("impressions", "contacts"))
#: A window can hold a click whose impression it has just lost, and one impression can be clicked twice; so only rows
#: with enough impressions to tell are looked at, and few of those may differ.
_MIN_IMPRESSIONS: Final = 20
_MOSTLY: Final = 0.95
#: What a measure's name may end in where its feature's name does not.
_UNITS: Final = ("_micros",)


@dataclass(frozen=True)
class Relation:
    """A difference of ``columns`` that is not negative in at least ``mostly`` of the rows where it is not missing."""

    name: str
    columns: tuple[str, ...]
    difference: str
    mostly: float = 1


def relations(group: FeatureGroup) -> tuple[Relation, ...]:
    """All relations between features of the group."""
    windowed = _windowed(group)
    return (*_monotone(windowed), *_answered(windowed))


def with_lag_column(rows: DataFrame, group: FeatureGroup) -> DataFrame:
    """``rows`` as they were written, with the differences that the suite looks at, where they have the columns."""
    present = set(rows.columns)
    return rows.selectExpr(
        "*",
        f"unix_seconds(available_at) - unix_seconds(feature_time) AS {_LAG}",
        *(f"{r.difference} AS {r.name}" for r in relations(group) if present.issuperset(r.columns)),
    )


def suite(group: FeatureGroup) -> gx.ExpectationSuite:
    """The suite of a group's rows as :func:`with_lag_column` gives them."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    from expectations import count_only

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


def _monotone(windowed: dict[str, dict[int, str]]) -> Iterator[Relation]:
    for measure, by_hours in windowed.items():
        columns = tuple(by_hours[hours] for hours in sorted(by_hours))
        steps = [f"{longer} - {shorter}" for shorter, longer in pairwise(columns)]
        if steps:
            difference = f"least({', '.join(steps)})" if len(steps) > 1 else steps[0]
            yield Relation(f"{measure}_that_longer_windows_add", columns, difference)


def _answered(windowed: dict[str, dict[int, str]]) -> Iterator[Relation]:
    for shown, answered in _ANSWERS:
        for hours, larger in windowed.get(shown, {}).items():
            if smaller := windowed.get(answered, {}).get(hours):
                difference = f"CASE WHEN {larger} >= {_MIN_IMPRESSIONS} THEN {larger} - {smaller} END"
                yield Relation(f"{larger}_without_{answered}", (larger, smaller), difference, _MOSTLY)


def _windowed(group: FeatureGroup) -> dict[str, dict[int, str]]:
    """Measure -> hours of the window -> the feature that shows this sum as it is."""
    found: dict[str, dict[int, str]] = {}
    if group.aggregation is None:
        return found
    measures = {_without_unit(measure) for measure in group.aggregation.measures}
    for name in group.names:
        stem, _, window = name.removeprefix(f"{group.entity}_").rpartition("_")
        if stem in measures and window in group.aggregation.windows:
            found.setdefault(stem, {})[group.aggregation.windows[window]] = name
    return found


def _without_unit(measure: str) -> str:
    for unit in _UNITS:
        measure = measure.removesuffix(unit)
    return measure
