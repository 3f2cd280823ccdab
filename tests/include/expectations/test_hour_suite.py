"""An hour is compared with the same hour of the day before, and a young log may grow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from expectations.hour_suite import HourRowCounts, RowRatioBounds

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
BOUNDS = RowRatioBounds(min_ratio=0.5, max_ratio=2, min_rows_compared=1000)


def hour(number: int) -> datetime:
    return FIRST + timedelta(hours=number)


def compared(number: int, rows: int, day_before: int) -> dict[str, float]:
    return HourRowCounts({hour(number): rows}, {hour(number - 24): day_before}, FIRST).day_over_day(
        hour(number), BOUNDS
    )


def test_an_hour_without_a_day_before_or_with_a_small_one_is_not_compared() -> None:
    assert HourRowCounts({hour(3): 5000}, {}, FIRST).day_over_day(hour(3), BOUNDS) == {}
    assert compared(100, rows=5000, day_before=999) == {}


def test_the_first_day_of_a_log_is_not_compared_with() -> None:
    assert compared(46, rows=5000, day_before=1000) == {}
    assert compared(47, rows=5000, day_before=1000) != {}


def test_the_ratio_is_to_the_same_hour_of_the_day_before() -> None:
    found = compared(2000, rows=1500, day_before=1000)
    assert found == {"day_before": 1000, "ratio": 1.5, "ratio_beyond_growth": 1.5}


@pytest.mark.parametrize(("number", "growth"), [(47, 2), (95, 4 / 3), (671, 28 / 27), (672 + 24, 1)])
def test_what_a_young_log_may_have_grown_by_is_taken_out(number: int, growth: float) -> None:
    found = compared(number, rows=3000, day_before=1000)
    assert found["ratio"] == 3
    assert found["ratio_beyond_growth"] == pytest.approx(3 / growth)
