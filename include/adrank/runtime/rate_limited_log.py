"""A log for failures that come a thousand times a second: one line per subject and interval, with a count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock


class RateLimitedLogger:
    """Lets one warning per subject through each ``interval`` seconds and counts the ones held back."""

    def __init__(
        self, logger: logging.Logger, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._clock = clock
        self._lock = Lock()
        self._next: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warning(self, subject: str, message: str) -> None:
        """Log ``subject: message``, or count it."""
        now = self._clock()
        with self._lock:
            if now < self._next.get(subject, now):
                self._suppressed[subject] = self._suppressed.get(subject, 0) + 1
                return
            self._next[subject] = now + self._interval
            suppressed = self._suppressed.pop(subject, 0)
        more = f" ({suppressed} more since the last line)" if suppressed else ""
        self._logger.warning("%s: %s%s", subject, message, more)
