"""Limits on progress: a wait fails when nothing has moved for a while, however long it takes as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

#: Something that changes as long as work goes on; None while it cannot be told.
Signal = Callable[[], object]

#: How often, in each stall limit, signals are read: some cost a look at every process.
_READINGS: Final = 30


class StalledError(RuntimeError):
    """Nothing has moved for too long; the message says what was waited for and what moved last."""


class ProgressWatch:
    """One wait. ``limit``: seconds without any movement until it has failed; ``signals``: what moves, by name."""

    def __init__(
        self, limit: float, signals: Mapping[str, Signal], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._signals = signals
        self._monotonic = monotonic
        self._values: dict[str, object] = {}
        self._moved_at = monotonic()
        self._mover = ""
        self._read_at: float | None = None

    def note(self, name: str, value: object) -> None:
        """Take a value that the caller has looked at anyway; one that differs from the last is a movement."""
        if value is None:
            return
        if name in self._values and self._values[name] != value:
            self._moved_at, self._mover = self._monotonic(), name
        self._values[name] = value

    def excuse(self) -> None:
        """Somebody may take their time: until now, nothing had to move."""
        self._moved_at, self._mover = self._monotonic(), ""

    def require_progress(self, waiting_for: str | Callable[[], str]) -> None:
        """Raise :class:`StalledError` when nothing has moved within the limit; ``waiting_for`` is told then."""
        now = self._monotonic()
        if self._read_at is None or now - self._read_at >= self._limit / _READINGS:
            self._read_at = now
            for name, signal in self._signals.items():
                self.note(name, signal())
        if now - self._moved_at > self._limit:
            last = f"the last that moved was {self._mover}" if self._mover else "nothing moved at all"
            awaited = waiting_for if isinstance(waiting_for, str) else waiting_for()
            raise StalledError(f"{awaited}: no progress for {now - self._moved_at:.0f} s; {last}")


def steps(amount: Signal, step: float) -> Signal:
    """A growing amount in whole steps: what grows by less than ``step`` within the limit does not move."""

    def whole_steps() -> object:
        value = amount()
        return int(value // step) if isinstance(value, int | float) else None

    return whole_steps
