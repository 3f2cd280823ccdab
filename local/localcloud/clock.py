"""Time as moto keeps it, and what is done again and again as it passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime


def now() -> datetime:
    """The present, naive UTC as moto keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Periodic:
    """Calls ``act`` with the present every ``seconds``, in a thread of that name."""

    def __init__(self, name: str, seconds: float, act: Callable[[datetime], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._act = act
        self._stop = threading.Event()

    def start(self) -> None:
        """Act from now on."""
        threading.Thread(target=self._loop, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """Act no more."""
        self._stop.set()

    def _loop(self) -> None:
        while not self._stop.wait(self._seconds):
            self._act(now())
