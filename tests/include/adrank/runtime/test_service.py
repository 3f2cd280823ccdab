"""Programs that run until they are told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from adrank.runtime.service import MetricsPortError, log_to_stderr, serve_metrics, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_program_in_order_and_afterwards_does_what_it_did(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before


def test_metrics_are_served_once_per_address() -> None:
    registry = CollectorRegistry()
    Gauge("adrank_test", "A figure", registry=registry).set(7)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve_metrics("127.0.0.1", port, registry)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        assert b"adrank_test 7.0" in page.read()
    with pytest.raises(MetricsPortError, match=f"/metrics cannot be served on 127.0.0.1:{port}: "):
        serve_metrics("127.0.0.1", port, registry)


def test_a_log_line_says_when_how_grave_and_who(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    log_to_stderr(logging.WARNING)
    root.info("unheard")
    root.warning("heard")
    assert capsys.readouterr().err.endswith("WARNING root: heard\n")
