"""How far the lake is behind the event log, as the archiver tells Prometheus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.samples import Sample

from adrank.contracts import metrics
from simulator.traffic import metrics_page
from simulator.traffic.metrics_page import MetricsUnreadableError, values

_MICROS: Final = 1_000_000


class ArchiveUnknownError(RuntimeError):
    """The archiver does not say how far it is: it does not answer, or does not know itself yet."""


@dataclass(frozen=True)
class ArchiveProgress:
    """``lag``: messages in Kafka that are not in the lake. ``watermark``: micros; None before any hour was closed."""

    lag: int
    watermark: int | None


def of_samples(samples: Sequence[Sample]) -> ArchiveProgress:
    """What the archiver's metrics say; :class:`ArchiveUnknownError` while it does not know a partition's lag."""
    lags = values(samples, metrics.ARCHIVER_LAG)
    if not lags or any(math.isnan(lag) for lag in lags):
        raise ArchiveUnknownError("it does not know its lag yet")
    seconds = max(values(samples, metrics.ARCHIVER_WATERMARK), default=0)
    return ArchiveProgress(lag=int(sum(lags)), watermark=int(seconds * _MICROS) or None)


def read(address: str) -> ArchiveProgress:
    """Ask the archiver at ``address`` (``http://host:port``); raises :class:`ArchiveUnknownError`."""
    try:
        return of_samples(metrics_page.read(address))
    except MetricsUnreadableError as error:
        raise ArchiveUnknownError(str(error)) from error
