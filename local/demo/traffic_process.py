"""Live traffic as a child process: started, watched, stopped, and its record of every second read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from demo.plan import DemoPlan
from demo.report.record import TrafficSecond, TrafficTotals
from simulator.traffic.command_line import TrafficArguments
from stack.environment import LOCAL_PATH, MARKER
from stack.settings import ROOT

#: Searches in any 24 event hours; more than the 6,000 that an experiment should see.
SEARCHES_PER_DAY: Final = 7200
#: Event seconds per wall second, where the machine keeps up: a day in two and a half minutes.
SPEED: Final = 600
#: Messages, and sent event hours, by which the archive may be behind before the event clock is held: about two hours.
MAX_LAG: Final = 15_000
MAX_OPEN_HOURS: Final = 2
#: Event hours until traffic ends by itself: a product manager may think for half a day of the wall's.
MAX_HOURS: Final = 8000
_STOP_SECONDS: Final = 60
_LOG_LINES: Final = 30


class TrafficError(RuntimeError):
    """The traffic process ended by itself; the message ends with its last log lines."""


def command(plan: DemoPlan, data: Path | None, state: Path) -> list[str]:
    """The command line of this demo's traffic."""
    flags = TrafficArguments.command_line(
        start=plan.end,
        hours=24,
        searches=SEARCHES_PER_DAY,
        speed=SPEED,
        state=state,
        max_hours=MAX_HOURS,
        max_lag=MAX_LAG,
        max_open_hours=MAX_OPEN_HOURS,
        searches_source="replay" if data else "world",
        data=data,
        seed=plan.seed,
        history_days=max(1, plan.hours // 24),
    )
    return [sys.executable, "-m", TrafficArguments.program, *flags]


class TrafficProcess:
    """One traffic process. ``environment`` must lead to the stack; ``home`` marks it as part of it."""

    def __init__(self, words: list[str], directory: Path, environment: Mapping[str, str], home: Path) -> None:
        self._words = words
        self._directory = directory
        self._environment = {**environment, **LOCAL_PATH, MARKER: str(home)}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it printed."""
        return self._directory / "traffic.log"

    @property
    def state_file(self) -> Path:
        """Where it says what it has done."""
        return state_file(self._directory)

    def start(self) -> None:
        """Start it; a second start does nothing."""
        if self._child is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as output:
                self._child = subprocess.Popen(  # noqa: S603
                    self._words, env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )

    def require_alive(self) -> None:
        """Raise :class:`TrafficError` when it was started and has ended."""
        if self._child is not None and self._child.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise TrafficError("\n".join([f"traffic ended with code {self._child.returncode}:", *lines]))

    def stop(self) -> None:
        """Let it close its hour and end; does nothing when it does not run."""
        child = self._child
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def state(self) -> dict[str, Any]:
        """What it has done so far; empty before it has said anything."""
        if not self.state_file.exists():
            return {}
        state: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        return state


def state_file(directory: Path) -> Path:
    """The state file of a traffic process that keeps its files in ``directory``."""
    return directory / "state.json"


def totals(state: Mapping[str, Any]) -> TrafficTotals | None:
    """Requests and pace so far; None before the event clock has started."""
    clock = state.get("clock")
    if not clock:
        return None
    return TrafficTotals(
        requests=state["requests"],
        failed_requests=state["failed_requests"],
        speed=clock["speed"],
        effective_speed=clock["effective_speed"],
        held_seconds=clock["held_seconds"],
    )


def seconds(state: Mapping[str, Any]) -> tuple[TrafficSecond, ...]:
    """The requests of every second of wall time, in order."""
    return tuple(
        TrafficSecond(at=datetime.fromtimestamp(entry["t"], UTC), answered=entry["served"], failed=entry["failed"])
        for entry in state.get("log", ())
    )
