"""Tells a person at a terminal what happens: every line has the seconds since the start and the stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from demo.report.record import OWN_STAGES, STAGES, Stage, Task

_WIDTH = max(map(len, STAGES))
_NEVER = datetime.max.replace(tzinfo=UTC)
_QUIET = frozenset({"none", "scheduled", "queued", "removed", "deferred", "up_for_reschedule", "skipped"})


class Progress:
    """Prints, and keeps the stages that the demo goes through itself."""

    def __init__(self, write: Callable[[str], None] = lambda line: print(line, flush=True)) -> None:
        self._write = write
        self._began = time.monotonic()
        self._stages: dict[str, Stage] = {}
        #: The stage that was last told of; empty before the first.
        self.current = ""

    def say(self, stage: str, line: str) -> None:
        """One line of a stage."""
        self.current = stage
        for part in line.splitlines() or [""]:
            self._write(f"[{time.monotonic() - self._began:6.1f} s] {stage:<{_WIDTH}} | {part}")

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[Callable[[str], None]]:
        """Run one stage; yields its ``say``. An error marks the stage failed and goes on."""
        started = datetime.now(UTC)
        self.say(name, what)
        try:
            yield lambda line: self.say(name, line)
        except BaseException:
            self._end(name, "failed", started)
            raise
        self._end(name, "success", started)

    def skip(self, name: str, why: str) -> None:
        """A stage that has nothing to do."""
        self._stages[name] = Stage(name=name, state="skipped")
        self.say(name, f"skipped: {why}")

    def own_stages(self) -> list[Stage]:
        """The demo's own stages, in order; one that was never reached was skipped."""
        return [self._stages.get(name, Stage(name=name, state="skipped")) for name in OWN_STAGES]

    def _end(self, name: str, state: str, started: datetime) -> None:
        stage = Stage.model_validate({"name": name, "state": state, "started": started, "ended": datetime.now(UTC)})
        self._stages[name] = stage
        self.say(name, f"{state} in {stage.seconds:.1f} s")


class TaskPrinter:
    """Tells the states that a run's tasks go through, each once; ``say`` takes the task and its state in words."""

    def __init__(self, say: Callable[[Task, str], None]) -> None:
        self._say = say
        self._printed: set[tuple[str, str, int]] = set()

    def print(self, tasks: Iterable[Task]) -> None:
        """Print what is new; what waits for its turn, goes on after a wait or was skipped is not worth a line."""
        for task in sorted(tasks, key=lambda task: task.ended or task.started or _NEVER):
            news = (task.instance, task.state, task.try_number)
            if task.state not in _QUIET and news not in self._printed:
                self._printed.add(news)
                retry = f" (try {task.try_number})" if task.try_number > 1 else ""
                self._say(task, f"{task.state.replace('_', ' ')}{retry}")
