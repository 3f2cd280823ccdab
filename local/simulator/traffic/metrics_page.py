"""Reads what a program tells Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

# No proxy of the user's stands between this machine and itself.
_HTTP: Final = httpx.Client(trust_env=False, timeout=5)


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
        response = _HTTP.get(f"{address}/metrics").raise_for_status()
    except httpx.HTTPError as error:
        raise MetricsUnreadableError(f"it does not answer: {error}") from error
    return parse(response.text)


def values(samples: Sequence[Sample], name: str) -> list[float]:
    """The values of one metric, one for each combination of labels."""
    return [sample.value for sample in samples if sample.name == name]
