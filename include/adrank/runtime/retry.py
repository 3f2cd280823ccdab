"""Retries of what a store or broker refuses for now: until a deadline, or until the process is told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_before_delay,
    stop_when_event_set,
    wait_exponential,
    wait_random_exponential,
)

from adrank.runtime.rate_limited_log import RateLimitedLogger

_LOG: Final = RateLimitedLogger(logging.getLogger(__name__))
_INITIAL_PAUSE: Final = 0.05
_MAX_PAUSE: Final = 5.0
_Result = TypeVar("_Result")


class RetriesExhaustedError(RuntimeError):
    """A store refused until the last moment: full, throttled or not there."""


@dataclass(frozen=True)
class RetryUntil:
    """``deadline`` is in seconds since the epoch: the one limit of all processes that push together."""

    deadline: float

    @classmethod
    def for_seconds(cls, seconds: float) -> RetryUntil:
        """Retries for so long from now on."""
        return cls(time.time() + seconds)

    def call(
        self, attempt: Callable[[], _Result], is_transient: Callable[[BaseException], bool], subject: str
    ) -> _Result:
        """The result of ``attempt``, made again (exponential backoff with full jitter) while its errors are transient.

        :raises RetriesExhaustedError: no further attempt fits before the deadline; names ``subject`` and the last error
        """

        def log(state: RetryCallState) -> None:
            error = _error(state)
            _LOG.warning(subject, f"refuses, trying again: {type(error).__name__}: {error}")

        def give_up(state: RetryCallState) -> NoReturn:
            error = _error(state)
            raise RetriesExhaustedError(f"{subject} refused until the limit of the push: {error}") from error

        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(multiplier=_INITIAL_PAUSE, max=_MAX_PAUSE),
            stop=stop_before_delay(self.deadline - time.time()),
            before_sleep=log,
            retry_error_callback=give_up,
        )
        return retrying(attempt)


@dataclass(frozen=True)
class RetryUntilStopped:
    """Retries that know no limit but ``stop``: once it is set, the next failure is raised as it is.

    ``is_transient`` says which errors may pass; others are raised at once. ``retried`` is called before each pause;
    pauses double from the first to the longest of ``pauses`` (seconds).
    """

    stop: threading.Event
    is_transient: Callable[[BaseException], bool]
    retried: Callable[[], None]
    pauses: tuple[float, float] = (0.2, 5.0)

    def call(self, attempt: Callable[[], _Result]) -> _Result:
        """The result of ``attempt``, however long that takes."""

        def log(state: RetryCallState) -> None:
            self.retried()
            logging.getLogger(__name__).warning("Trying again in %.1f s: %s", state.upcoming_sleep, _error(state))

        retrying = Retrying(
            retry=retry_if_exception(self.is_transient),
            wait=wait_exponential(multiplier=self.pauses[0], max=self.pauses[1]),
            stop=stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=log,
            reraise=True,
        )
        return retrying(attempt)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
