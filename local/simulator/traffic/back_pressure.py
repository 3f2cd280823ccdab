"""Back-pressure: who makes events waits for the archiver; a slow machine stretches time, and nothing piles up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client.samples import Sample

from adrank.contracts import metrics
from simulator.traffic import metrics_page
from simulator.traffic.metrics_page import MetricsUnreadableError

#: Seconds of wall time for which a reading counts.
_INTERVAL: Final = 1.0
_MICROS: Final = 1_000_000
_HOUR_MICROS: Final = 3_600_000_000


@dataclass(frozen=True)
class ArchiveProgress:
    """``lag``: messages in Kafka that are not in the lake. ``watermark``: micros; None before any hour was closed."""

    lag: int
    watermark: int | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> ArchiveProgress:
        """What the archiver's metrics say; raises :class:`MetricsUnreadableError` while it does not know a lag."""
        lags = metrics_page.values(samples, metrics.ARCHIVER_LAG)
        if not lags or any(math.isnan(lag) for lag in lags):
            raise MetricsUnreadableError("it does not know its lag yet")
        seconds = max(metrics_page.values(samples, metrics.ARCHIVER_WATERMARK), default=0)
        return cls(lag=int(sum(lags)), watermark=int(seconds * _MICROS) or None)


@dataclass(frozen=True)
class BackPressureLimits:
    """How far the archive may be behind: messages that are not in the lake, hours that were told and are not closed."""

    max_lag: int
    max_open_hours: int

    def exceeded(self, archive: ArchiveProgress, sent_until: datetime | None) -> str:
        """Which limit the archive exceeds, in words; empty when none. ``sent_until``: the end of the last told hour."""
        if archive.lag > self.max_lag:
            return f"the archiver is {archive.lag:,} messages behind"
        if sent_until is not None and archive.watermark is not None:
            open_hours = (sent_until.timestamp() * 1e6 - archive.watermark) / _HOUR_MICROS
            if open_hours > self.max_open_hours:
                return f"{open_hours:.1f} event hours are told and not closed"
        return ""


class BackPressure:
    """One thread calls :meth:`hold`; any thread may read how long it was held and why.

    ``read`` asks the archiver; while it raises :class:`MetricsUnreadableError` the archive counts as behind.
    ``wait`` sleeps, and is true when the traffic is being stopped.
    """

    def __init__(
        self,
        limits: BackPressureLimits,
        read: Callable[[], ArchiveProgress],
        wait: Callable[[float], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._read = read
        self._wait = wait
        self._monotonic = monotonic
        self._sent_until: datetime | None = None
        self._read_at: float | None = None
        self._held_since: float | None = None
        self._held_before = 0.0
        #: Why it is held now; empty when it is not.
        self.reason = ""

    @property
    def held_seconds(self) -> float:
        """Wall time for which the archive was waited for, the present wait included."""
        since = self._held_since
        return self._held_before + (0.0 if since is None else self._monotonic() - since)

    def hour_sent(self, end: datetime) -> None:
        """The archiver has been sent all that it needs to close the hours before ``end``."""
        self._sent_until = end

    def hold(self) -> bool:
        """Return when the archive is near enough; False when the traffic is being stopped meanwhile."""
        now = self._monotonic()
        if self._read_at is not None and now - self._read_at < _INTERVAL:
            return True
        try:
            while reason := self._exceeded():
                if self._held_since is None:
                    self._held_since = now
                self.reason = reason
                if self._wait(_INTERVAL):
                    return False
            self._read_at = self._monotonic()
            return True
        finally:
            self._held_before, self._held_since, self.reason = self.held_seconds, None, ""

    def _exceeded(self) -> str:
        try:
            return self._limits.exceeded(self._read(), self._sent_until)
        except MetricsUnreadableError as error:
            return f"the archiver does not say how far it is: {error}"
