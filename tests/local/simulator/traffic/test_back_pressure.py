"""Back-pressure: the event clock waits for the archiver, and for nobody once the archive is near enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest, start_http_server

from ingestion.archiver.metrics import Metrics
from simulator.traffic import metrics_page
from simulator.traffic.back_pressure import ArchiveProgress, BackPressure, BackPressureLimits
from simulator.traffic.metrics_page import MetricsUnreadableError

NINE = datetime(2026, 3, 9, 9, tzinfo=UTC)
LIMITS = BackPressureLimits(max_lag=100, max_open_hours=2)


def micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


class Archiver:
    """Says one thing after the other, and the last again and again; its seconds pass only while somebody waits."""

    def __init__(self, *says: ArchiveProgress | MetricsUnreadableError) -> None:
        self.says = list(says)
        self.read_times = 0
        self.now = 0.0
        self.stop_at = float("inf")

    def read(self) -> ArchiveProgress:
        self.read_times += 1
        answer = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(answer, MetricsUnreadableError):
            raise answer
        return answer

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self.stop_at

    def back_pressure(self) -> BackPressure:
        return BackPressure(LIMITS, self.read, self.wait, lambda: self.now)


def lag(messages: int, watermark: datetime | None = None) -> ArchiveProgress:
    return ArchiveProgress(messages, None if watermark is None else micros(watermark))


def test_an_archive_that_is_near_holds_nobody() -> None:
    archiver = Archiver(lag(100))
    pressure = archiver.back_pressure()
    assert pressure.hold()
    assert (pressure.held_seconds, pressure.reason, archiver.now) == (0, "", 0)


def test_it_is_held_until_the_archiver_has_caught_up() -> None:
    archiver = Archiver(lag(900), lag(300), lag(101), lag(99))
    pressure = archiver.back_pressure()
    assert pressure.hold()
    assert archiver.read_times == 4
    assert pressure.held_seconds == archiver.now == 3


def test_told_hours_that_stay_open_hold_it_too() -> None:
    archiver = Archiver(lag(0, NINE - timedelta(hours=3)), lag(0, NINE - timedelta(hours=2)))
    pressure = archiver.back_pressure()
    pressure.hour_sent(NINE)
    assert pressure.hold()
    assert archiver.read_times == 2


def test_hours_hold_nobody_before_one_was_told_or_closed() -> None:
    assert LIMITS.exceeded(lag(0, NINE - timedelta(days=9)), None) == ""
    assert LIMITS.exceeded(lag(0), NINE) == ""
    assert "told and not closed" in LIMITS.exceeded(lag(0, NINE - timedelta(days=9)), NINE)


def test_an_archiver_that_does_not_answer_counts_as_behind_until_it_does() -> None:
    archiver = Archiver(MetricsUnreadableError("refused"), MetricsUnreadableError("refused"), lag(0))
    pressure = archiver.back_pressure()
    assert pressure.hold()
    assert pressure.held_seconds == 2


def test_a_reading_counts_for_a_second() -> None:
    archiver = Archiver(lag(0))
    pressure = archiver.back_pressure()
    assert all(pressure.hold() for _ in range(50))
    assert archiver.read_times == 1
    archiver.now += 1
    assert pressure.hold()
    assert archiver.read_times == 2


def test_stopping_ends_the_wait_and_says_so() -> None:
    archiver = Archiver(lag(900))
    archiver.stop_at = 5
    pressure = archiver.back_pressure()
    assert not pressure.hold()
    assert archiver.now == 5


def test_whoever_looks_meanwhile_sees_how_long_and_why() -> None:
    seen: list[tuple[float, str]] = []
    archiver = Archiver(lag(2500), lag(2500), lag(0))
    pressure = archiver.back_pressure()
    wait = archiver.wait

    def look(seconds: float) -> bool:
        stopped = wait(seconds)
        seen.append((pressure.held_seconds, pressure.reason))
        return stopped

    pressure._wait = look
    assert pressure.hold()
    assert seen == [(1, "the archiver is 2,500 messages behind"), (2, "the archiver is 2,500 messages behind")]
    assert pressure.reason == ""


def progress_of(metrics: Metrics) -> ArchiveProgress:
    return ArchiveProgress.of(metrics_page.parse(generate_latest(metrics.registry).decode()))


def test_the_archivers_own_metrics_are_understood() -> None:
    metrics = Metrics()
    metrics.watch_lag(0, lambda: 40)
    metrics.watch_lag(1, lambda: 2)
    assert progress_of(metrics) == ArchiveProgress(42, None), "no hour is closed yet"
    metrics.closed(1, 0, NINE)
    assert progress_of(metrics) == ArchiveProgress(42, micros(NINE))


def test_a_lag_that_the_archiver_does_not_know_is_not_taken_for_none() -> None:
    metrics = Metrics()
    metrics.watch_lag(0, lambda: 0)
    metrics.watch_lag(1, lambda: None)
    with pytest.raises(MetricsUnreadableError, match="does not know its lag yet"):
        progress_of(metrics)
    with pytest.raises(MetricsUnreadableError, match="does not know its lag yet"):
        ArchiveProgress.of([])


def test_a_page_that_is_something_else_has_no_metrics() -> None:
    with pytest.raises(MetricsUnreadableError, match="no metrics"):
        metrics_page.parse("<html> not here </html>")


def test_an_archiver_is_read_over_http_and_its_absence_is_told() -> None:
    metrics = Metrics()
    metrics.watch_lag(0, lambda: 7)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=metrics.registry)
    address = f"http://127.0.0.1:{server.server_port}"
    assert ArchiveProgress.of(metrics_page.read(address)).lag == 7
    server.shutdown()
    server.server_close()
    thread.join()
    with pytest.raises(MetricsUnreadableError, match="does not answer"):
        ArchiveProgress.of(metrics_page.read(address))
