"""How many searches each live event hour gets: fixed beforehand, so that a slow endpoint stretches time, not data."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from simulator.marketplace.world import daily_curve


class SearchBudget:
    """``total`` searches over the ``hours`` hours from ``start`` along the day's curve, and the same again after."""

    def __init__(self, start: datetime, hours: int, total: int) -> None:
        if hours < 1 or total < 1:
            raise ValueError(f"expected at least one hour and one search, got {hours} hours and {total} searches")
        curve = daily_curve(np.array([(start + timedelta(hours=i)).hour for i in range(hours)]))
        ends = np.rint(total * np.cumsum(curve) / curve.sum()).astype(int)
        self._ends: list[int] = [0, *ends.tolist()]

    def serials(self, hour: int) -> range:
        """Serial numbers of the searches of the ``hour``-th hour (from 0), counted from the first hour on."""
        rounds, within = divmod(hour, len(self._ends) - 1)
        before = rounds * self._ends[-1]
        return range(before + self._ends[within], before + self._ends[within + 1])
