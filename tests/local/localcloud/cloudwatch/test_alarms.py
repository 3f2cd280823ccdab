"""Alarms' verdicts."""

from __future__ import annotations

import pytest

from localcloud.cloudwatch.alarms import percentile, statistic, verdict


@pytest.mark.parametrize(
    ("points", "needed", "missing", "state"),
    [
        ([5.0, 1.0], 1, "missing", "ALARM"),
        ([5.0, 1.0], 2, "missing", "OK"),
        ([None, None], 1, "missing", "INSUFFICIENT_DATA"),
        ([None, None], 1, "notBreaching", "OK"),
        ([None, None], 1, "ignore", None),
        ([None, None], 2, "breaching", "ALARM"),
        ([5.0, None], 2, "breaching", "ALARM"),
        ([5.0, None], 2, "notBreaching", "OK"),
    ],
)
def test_alarms_count_breaching_points_and_treat_missing_ones_as_told(
    points: list[float | None], needed: int, missing: str, state: str | None
) -> None:
    assert verdict(points, lambda point: point > 2, needed, missing) == state


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([float(value) for value in range(1, 101)], 99) == 99
    assert percentile([7.0], 99.9) == 7
    assert statistic([], "p99") is None
    assert statistic([], "Sum") is None
