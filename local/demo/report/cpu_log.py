"""What each stage cost in CPU time: measured while it runs, and told afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import numpy as np

_INTERVAL: Final = 1.0


class CpuLog:
    """Asks ``read`` for CPU seconds every second, from :meth:`start` to :meth:`stop`.

    What ended without anybody having waited for it takes its time along: the log never falls, it misses that.
    """

    def __init__(self, read: Callable[[], float], now: Callable[[], float] = time.time) -> None:
        self._read = read
        self._now = now
        self._times: list[float] = []
        self._burnt: list[float] = []
        self._last = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-log", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with a last reading; does nothing when it was never begun."""
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()

    def sample(self) -> None:
        """Read once."""
        seconds = self._read()
        grown = max(0.0, seconds - self._last) if self._times else 0.0
        self._last = seconds
        self._burnt.append((self._burnt[-1] if self._burnt else 0.0) + grown)
        self._times.append(self._now())

    def between(self, start: datetime, end: datetime) -> float:
        """CPU seconds that were burnt from ``start`` to ``end``, as far as the log reaches."""
        return max(0.0, self._at(end.timestamp()) - self._at(start.timestamp()))

    def _run(self) -> None:
        self.sample()
        while not self._stop.wait(_INTERVAL):
            self.sample()
        self.sample()

    def _at(self, moment: float) -> float:
        return float(np.interp(moment, self._times, self._burnt)) if self._times else 0.0
