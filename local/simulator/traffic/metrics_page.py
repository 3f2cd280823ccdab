"""Reads what a program tells Prometheus."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Sequence
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_TIMEOUT_SECONDS: Final = 5.0
# No proxy of the user's stands between this machine and itself.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MetricsUnreadableError(RuntimeError):
    """Nobody answers there, with something else than metrics, or without what is to be read of them."""


def parse(text: str) -> list[Sample]:
    """All samples of a page; raises :class:`MetricsUnreadableError`."""
    try:
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError as error:
        raise MetricsUnreadableError(f"its metrics are no metrics: {error}") from error


def read(address: str) -> list[Sample]:
    """All samples at ``address`` (``http://host:port``); raises :class:`MetricsUnreadableError`."""
    try:
        with _OPENER.open(f"{address}/metrics", timeout=_TIMEOUT_SECONDS) as response:
            text = response.read().decode()
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise MetricsUnreadableError(f"it does not answer: {error}") from error
    return parse(text)


def values(samples: Sequence[Sample], name: str) -> list[float]:
    """The values of one metric, one for each combination of labels."""
    return [sample.value for sample in samples if sample.name == name]
