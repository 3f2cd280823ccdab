"""Watches one run of the weekly DAG: tells every step, starts what must happen meanwhile, and stops at its end.

What must happen meanwhile: live traffic as soon as users are routed, and a product manager's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from demo.report.record import WEEKLY_STAGES, Stage, Task, group_stage
from demo.runs.dag_runs import DagRun, DagRunClient
from demo.runs.progress import TaskPrinter
from stack.stall import ProgressWatch

DAG_ID: Final = "ranking_training_weekly"
START_ROUTING: Final = "ab_test.start_routing"
AWAIT_VERDICT: Final = "ab_test.await_verdict"
APPROVE_PROMOTION: Final = "approval.approve_promotion"
SHIFT_TRAFFIC: Final = "production.shift_traffic"
VERIFY_PRODUCTION: Final = "production.verify_production"

Say = Callable[[str, str], None]


class WeeklyWatch:
    """Follows a run until it ends, whatever its end. ``say`` takes stage and line; ``look`` sees all its tasks."""

    def __init__(self, airflow: DagRunClient, say: Say, look: Callable[[list[Task]], None] = lambda _: None) -> None:
        self._airflow = airflow
        self._say = say
        self._look = look
        self._task_printer = TaskPrinter(lambda task, state: say(task.group, f"{task.name}: {state}"))
        self._ended: set[str] = set()
        self._callbacks: list[tuple[str, frozenset[str], Callable[[], None]]] = []
        self._called: set[tuple[int, int]] = set()
        self._always: list[Callable[[], None]] = []
        self._states: dict[str, str] = {}

    def when(self, task_id: str, states: Sequence[str], act: Callable[[], None]) -> None:
        """Call ``act`` in each try of the task, the first time that it is in one of the states."""
        self._callbacks.append((task_id, frozenset(states), act))

    def always(self, act: Callable[[], None]) -> None:
        """Call ``act`` every time the run is looked at; what it raises ends the watch."""
        self._always.append(act)

    def follow(self, run: DagRun, watch: ProgressWatch) -> tuple[DagRun, list[Task]]:
        """Watch until the run has ended; a person may take any time.

        Raises:
            StalledError: it does not get on.
        """

        def look(tasks: list[Task]) -> None:
            self._states = {task.task_id: task.state for task in tasks}
            self._look(tasks)
            self._tell(tasks)
            self._act(tasks)
            if any(task.state == "awaiting_input" for task in tasks):
                watch.excuse()

        return self._airflow.follow(run.dag_id, run.run_id, watch, look)

    def is_at_work(self, task_id: str) -> bool:
        """Whether a task has begun and is not over, as the run was last seen."""
        state = self._states.get(task_id, "none")
        return state != "none" and not _is_over(state)

    def _tell(self, tasks: list[Task]) -> None:
        self._task_printer.print(tasks)
        for stage in stages_of(tasks):
            members = [task.state for task in tasks if task.group == stage.name]
            if stage.name not in self._ended and members and all(_is_over(state) for state in members):
                self._ended.add(stage.name)
                self._say(stage.name, f"{stage.state}" + (f" in {stage.seconds:.1f} s" if stage.started else ""))

    def _act(self, tasks: list[Task]) -> None:
        by_id = {task.task_id: task for task in tasks}
        for number, (task_id, wanted, act) in enumerate(self._callbacks):
            task = by_id.get(task_id)
            if task is not None and task.state in wanted and (number, task.try_number) not in self._called:
                self._called.add((number, task.try_number))
                act()
        for act in self._always:
            act()


def stages_of(tasks: Sequence[Task]) -> list[Stage]:
    """The weekly stages, from the states of their task groups."""
    return [group_stage(name, [task for task in tasks if task.group == name]) for name in WEEKLY_STAGES]


def _is_over(state: str) -> bool:
    return state in ("success", "failed", "skipped", "upstream_failed", "removed")
