"""How many rows an hour has beside the same hour of the day before.

What a log's first weeks fill grows in proportion to the log's age, so an hour may have that much more than its most;
the log's first day is not compared with, because a part of a day is not like any other part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from adrank.contracts.registry import WINDOW
from adrank.contracts.timestamps import DAY, HOUR


@dataclass(frozen=True)
class RowRatioBounds:
    """How far an hour's rows may be from those of the day before, if that had ``min_rows_compared`` rows or more."""

    least: float
    most: float
    min_rows_compared: int


@dataclass(frozen=True)
class Compared:
    """``ratio`` of an hour's rows to those of the day before; ``ratio_beyond_growth`` is what the log's age leaves."""

    day_before: int
    ratio: float
    ratio_beyond_growth: float


@dataclass(frozen=True)
class HourRowCounts:
    """Rows by hour, as manifests tell: of the hours asked for, and of hours that these may be compared with.

    ``first`` is the first hour that was ever computed.
    """

    asked: Mapping[datetime, int]
    comparable: Mapping[datetime, int]
    first: datetime

    def compared(self, hour: datetime, bounds: RowRatioBounds) -> Compared | None:
        """One of the hours asked for; None where there is nothing to compare it with."""
        before = self.comparable.get(hour - DAY, 0)
        if before < bounds.min_rows_compared or self._age(hour - DAY) < DAY / HOUR:
            return None
        ratio = self.asked[hour] / before
        return Compared(before, ratio, ratio * self._age(hour - DAY) / self._age(hour))

    def _age(self, hour: datetime) -> float:
        """Hours of log that a window can hold at the end of ``hour``."""
        return min(hour + HOUR - self.first, WINDOW) / HOUR
