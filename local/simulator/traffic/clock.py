"""The compressed event clock, which runs ``speed`` times as fast as the wall's or slower when it must.

How many searches each event hour gets is fixed beforehand, so that a slow endpoint stretches time, not data.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from simulator.marketplace.world import daily_curve
from simulator.traffic.back_pressure import BackPressure

#: Seconds of wall time that the clock may be behind before it slows down; hides scheduling jitter.
_SLACK: Final = 0.25
_MICROS: Final = 1_000_000


@dataclass(frozen=True)
class ClockReading:
    """Event seconds per wall second, wanted and in effect since the first wait; wall seconds held, and why now."""

    speed: float
    effective_speed: float
    held_seconds: float
    held: str


class EventClock:
    """Starts at ``start`` (epoch microseconds) on the first wait. One thread waits, any thread reads.

    Whoever waits for a moment that is already past slows the clock down instead of making it jump: nothing is skipped
    and nothing is rushed to catch up. The same holds while back-pressure holds it.
    """

    def __init__(
        self, start: int, speed: float, stop: threading.Event, back_pressure: BackPressure | None = None
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed:g}")
        self._origin = start
        self._speed = speed
        self._stop = stop
        self._back_pressure = back_pressure
        self._began: float | None = None
        self._wall: float | None = None
        self._reached = start

    @property
    def now(self) -> int:
        """The latest event time that was waited for, in epoch microseconds."""
        return self._reached

    def reading(self) -> ClockReading:
        """How fast it has run so far."""
        wall = 0.0 if self._began is None else time.monotonic() - self._began
        event = (self._reached - self._origin) / _MICROS
        pressure = self._back_pressure
        return ClockReading(
            speed=self._speed,
            effective_speed=event / wall if wall > 0 else 0.0,
            held_seconds=pressure.held_seconds if pressure else 0.0,
            held=pressure.reason if pressure else "",
        )

    def wait_until(self, moment: int) -> bool:
        """Wait for an event time; False when the traffic is being stopped."""
        if self._began is None:
            self._began = time.monotonic()
        if self._back_pressure is not None and not self._back_pressure.hold():
            return False
        now = time.monotonic()
        if self._wall is None:
            self._wall = now
        due = self._wall + (moment - self._origin) / _MICROS / self._speed
        if due < now - _SLACK:
            self._wall += now - due
        if self._stop.is_set() or (due > now and self._stop.wait(due - now)):
            return False
        self._reached = max(self._reached, moment)
        return True


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
