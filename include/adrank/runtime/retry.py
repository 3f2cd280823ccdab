"""How a writer waits for a store that refuses for now: longer each time, at random, and never beyond one moment."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from adrank.runtime.rate_limited_log import RateLimitedLogger

_LOG: Final = RateLimitedLogger(logging.getLogger(__name__))
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_Answer = TypeVar("_Answer")


class RetriesExhaustedError(RuntimeError):
    """A store refused until the last moment: full, throttled or not there."""


@dataclass(frozen=True)
class Patience:
    """``until`` is in seconds since the epoch: the one limit of all processes that push together."""

    until: float

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """Patience for so long from now on."""
        return cls(time.time() + seconds)

    def call(
        self, attempt: Callable[[], _Answer], worth_retrying: Callable[[Exception], bool], subject: str
    ) -> _Answer:
        """The answer of ``attempt``, made again (exponential backoff with full jitter) while its errors are worth it.

        Raises :class:`RetriesExhaustedError` at the limit, naming ``subject`` and the last error.
        """
        longest = _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except Exception as error:
                if not worth_retrying(error):
                    raise
                pause = random.uniform(0, longest)  # noqa: S311  spreads load, guards nothing
                if time.time() + pause >= self.until:
                    raise RetriesExhaustedError(f"{subject} refused until the limit of the push: {error}") from error
                _LOG.warning(subject, f"refuses, trying again: {type(error).__name__}: {error}")
            time.sleep(pause)
            longest = min(2 * longest, _LONGEST_PAUSE)
