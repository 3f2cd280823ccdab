"""How long each task was in which state, as seen by looking: Airflow keeps its first and last moment only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from demo.report.record import Task

#: What a person calls a state in which a task spends its time; other states are ends, or no time.
_WAITS: Final = {
    "scheduled": "queued",
    "queued": "queued",
    "running": "running",
    "deferred": "deferred",
    "awaiting_input": "asking",
    "up_for_retry": "retry",
    "up_for_reschedule": "retry",
    "restarting": "retry",
}
#: Tasks of a stage that are named: those that took longest.
_MAX_TASKS: Final = 3

Waits = dict[str, float]


class TaskTimes:
    """``look`` at tasks again and again: between two looks, each was in the state in which the first has found it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str, str], tuple[str, float]] = {}
        self._waits: dict[tuple[str, str, str], Waits] = {}

    def look(self, tasks: Iterable[Task]) -> None:
        """Note the states of some tasks as they are now."""
        now = self._monotonic()
        for task in tasks:
            key = (task.dag_id, task.run_id, task.instance)
            state, since = self._seen.get(key, ("", now))
            if (wait := _WAITS.get(state)) is not None:
                waits = self._waits.setdefault(key, {})
                waits[wait] = waits.get(wait, 0.0) + now - since
            self._seen[key] = (task.state, now)

    def longest(self, tasks: Iterable[Task]) -> dict[str, Waits]:
        """Of some tasks those that took longest, over all their runs: seconds by kind of wait."""
        totals: dict[str, Waits] = {}
        for task in tasks:
            total = totals.setdefault(task.instance, {})
            for wait, seconds in self._waits.get((task.dag_id, task.run_id, task.instance), {}).items():
                total[wait] = total.get(wait, 0.0) + seconds
        longest = sorted(totals, key=lambda instance: -sum(totals[instance].values()))[:_MAX_TASKS]
        rounded = {name: {wait: round(s, 1) for wait, s in totals[name].items() if s >= 0.05} for name in longest}
        return {name: waits for name, waits in rounded.items() if waits}
