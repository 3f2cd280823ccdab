"""The compressed event clock: event time that runs ``speed`` times as fast as the wall's, or slower when it must."""

from __future__ import annotations

import threading
import time
from typing import Final

#: Seconds of wall time that the clock may be behind before it slows down; hides scheduling jitter.
_SLACK: Final = 0.25
_MICROS: Final = 1_000_000


class EventClock:
    """Starts at ``start`` (epoch microseconds) on the first wait. One thread waits, any thread reads :attr:`now`.

    Whoever waits for a moment that is already past slows the clock down instead of making it jump: nothing is skipped
    and nothing is rushed to catch up.
    """

    def __init__(self, start: int, speed: float, stop: threading.Event) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed:g}")
        self._origin = start
        self._speed = speed
        self._stop = stop
        self._wall: float | None = None
        self._reached = start

    @property
    def now(self) -> int:
        """The latest event time that was waited for, in epoch microseconds."""
        return self._reached

    def wait_until(self, moment: int) -> bool:
        """Wait for an event time; False when the traffic is being stopped."""
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
