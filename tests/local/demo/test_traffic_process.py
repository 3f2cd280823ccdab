"""Live traffic as a child: it is stopped gently, and when it dies by itself the demo hears of it."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.plan import DemoPlan
from demo.report.record import TrafficSecond, TrafficTotals
from demo.traffic_process import MAX_LAG, MAX_OPEN_HOURS, TrafficError, TrafficProcess, command, seconds, totals
from simulator.traffic.command_line import TrafficArguments
from tests.local.demo.records import T0

GENTLE = """
import pathlib, signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
state = pathlib.Path(sys.argv[1])
state.write_text('{"requests": 1}')
stop.wait()
state.write_text('{"requests": 2}')
"""


def process(directory: Path, program: str) -> TrafficProcess:
    words = [sys.executable, "-c", program, str(directory / "state.json")]
    return TrafficProcess(words, directory, dict(os.environ), home=directory)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_is_told_to_end_and_may_finish_its_work(tmp_path: Path) -> None:
    traffic = process(tmp_path / "traffic", GENTLE)
    assert traffic.state() == {}
    traffic.start()
    eventually(lambda: traffic.state_file.exists() and traffic.state_file.stat().st_size > 0)
    traffic.require_alive()
    traffic.stop()
    assert traffic.state() == {"requests": 2}
    traffic.stop()


def test_its_death_is_told_with_its_last_words(tmp_path: Path) -> None:
    traffic = process(tmp_path / "traffic", "raise SystemExit('no endpoint')")
    traffic.require_alive()
    traffic.start()

    def died() -> bool:
        try:
            traffic.require_alive()
        except TrafficError:
            return True
        return False

    eventually(died)
    with pytest.raises(TrafficError, match="ended with code 1:\nno endpoint"):
        traffic.require_alive()


def test_seconds_come_from_its_log() -> None:
    entry = {"t": 1772445600, "served": {"abc": 3}, "failed": 1}
    (second,) = seconds({"log": [entry]})
    assert second == TrafficSecond(at=datetime(2026, 3, 2, 10, tzinfo=UTC), answered={"abc": 3}, failed=1)
    assert second.requests == 4
    assert seconds({}) == ()


def test_its_pace_is_read_once_its_clock_runs() -> None:
    counted = {"requests": 5, "failed_requests": 1}
    clock = {"speed": 480.0, "effective_speed": 400.5, "held_seconds": 3.5, "held": ""}
    assert totals({}) is None
    assert totals({**counted, "clock": None}) is None
    assert totals({**counted, "clock": clock}) == TrafficTotals(
        requests=5, failed_requests=1, speed=480, effective_speed=400.5, held_seconds=3.5
    )


def test_the_demos_traffic_waits_for_the_archiver(tmp_path: Path) -> None:
    plan = DemoPlan(text="world", own_logs=False, seed=7, start=T0 - timedelta(days=8), end=T0, metrics=("contacts",))
    words = command(plan, None, tmp_path / "state.json")
    args = TrafficArguments.parse(words[3:])
    assert (args.max_lag, args.max_open_hours) == (MAX_LAG, MAX_OPEN_HOURS)
