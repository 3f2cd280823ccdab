"""How far the lake is behind the event log, as the archiver tells Prometheus."""

from __future__ import annotations

import http.client
import math
import urllib.request
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from adrank.contracts import metric_names

_TIMEOUT_SECONDS: Final = 5.0
_MICROS: Final = 1_000_000
# No proxy of the user's stands between this machine and itself.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ArchiveUnknownError(RuntimeError):
    """The archiver does not say how far it is: it does not answer, or does not know itself yet."""


@dataclass(frozen=True)
class ArchiveProgress:
    """``lag``: messages in Kafka that are not in the lake. ``watermark``: micros; None before any hour was closed."""

    lag: int
    watermark: int | None


def parse(text: str) -> ArchiveProgress:
    """The archiver's ``/metrics``.

    Raises:
        ArchiveUnknownError: it names no partition's lag, or does not know one.
    """
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError as error:
        raise ArchiveUnknownError(f"its metrics are no metrics: {error}") from error
    lags = [sample.value for sample in samples if sample.name == metric_names.ARCHIVER_LAG]
    if not lags or any(math.isnan(lag) for lag in lags):
        raise ArchiveUnknownError("it does not know its lag yet")
    seconds = max((sample.value for sample in samples if sample.name == metric_names.ARCHIVER_WATERMARK), default=0)
    return ArchiveProgress(lag=int(sum(lags)), watermark=int(seconds * _MICROS) or None)


def read(address: str) -> ArchiveProgress:
    """Ask the archiver at ``address`` (``http://host:port``).

    Raises:
        ArchiveUnknownError: it does not say.
    """
    try:
        with _OPENER.open(f"{address}/metrics", timeout=_TIMEOUT_SECONDS) as response:
            text = response.read().decode()
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise ArchiveUnknownError(f"it does not answer: {error}") from error
    return parse(text)
