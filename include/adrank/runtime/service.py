"""What programs that run until they are told to stop do alike: log, stop in order, and serve their metrics."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class MetricsPortError(RuntimeError):
    """The address for Prometheus cannot be used."""


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log this level and above, one line each."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; afterwards they do what they did before."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_metrics(host: str, port: int, registry: CollectorRegistry | None = None) -> None:
    """Answer ``/metrics`` until the process ends; without a registry, with the process's own.

    :raises MetricsPortError: the address is taken or is none
    """
    from prometheus_client import REGISTRY, start_http_server

    try:
        start_http_server(port, addr=host, registry=registry or REGISTRY)
    except OSError as error:
        raise MetricsPortError(f"/metrics cannot be served on {host}:{port}: {error.strerror}") from error
