"""DAG runs over Airflow's REST API: start one, watch its tasks, read what they returned, answer its questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote, urlencode

from demo import signals
from demo.report.record import Task
from demo.runs.retrying_api import AirflowApi, RetryingApi
from stack.airflow_client import AirflowApiError
from stack.stall import ProgressWatch, StalledError

_POLL_SECONDS = 1.0
_MISSING: Final = 404
_CONFLICT: Final = 409
#: What a watch calls a change in a run's tasks.
TASKS: Final = "a task"


class DagMissingError(RuntimeError):
    """Airflow does not know a DAG; the message holds its import errors."""


class RunFailedError(RuntimeError):
    """A DAG run failed; the message names the failed tasks and ends with their last log lines."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str
    state: str
    logical_date: datetime | None

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in ("success", "failed")


@dataclass(frozen=True)
class Question:
    """What a task asked a person, and their answer if they gave one."""

    subject: str
    body: str
    chosen_options: tuple[str, ...]
    by: str | None
    at: datetime | None


class DagRunClient:
    """One user's view of Airflow."""

    def __init__(
        self, api: AirflowApi, max_silence: float = 60, require_running: Callable[[], None] = lambda: None
    ) -> None:
        self._api = RetryingApi(api, max_silence, require_running)

    def unpause(self, dag_id: str, watch: ProgressWatch) -> None:
        """Let a DAG run, once Airflow has parsed it.

        Raises:
            DagMissingError: Airflow cannot parse it, or does nothing any more.
        """
        while self._find(f"/dags/{dag_id}") is None:
            self._require_importable(dag_id)
            try:
                watch.require_progress(f"Airflow does not know {dag_id}")
            except StalledError as error:
                raise DagMissingError(f"{error}\n{self._import_errors()}") from None
            time.sleep(_POLL_SECONDS)
        self._api.request("PATCH", f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Let a DAG start nothing more."""
        self._api.request("PATCH", f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": True})

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, str]) -> DagRun:
        """Start a run without a logical date, unless it was started; ``conf`` sets its params."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        try:
            return _dag_run(self._api.request("POST", f"/dags/{dag_id}/dagRuns", body))
        except AirflowApiError as error:
            if error.status != _CONFLICT:
                raise
            return self.run(dag_id, run_id)

    def runs(self, dag_id: str) -> list[DagRun]:
        """The first hundred runs of a DAG, oldest first."""
        found = self._get(f"/dags/{dag_id}/dagRuns?limit=100&order_by=run_after")
        return [_dag_run(run) for run in found["dag_runs"]]

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """One run as it is now."""
        return _dag_run(self._get(_run_path(dag_id, run_id)))

    def tasks(self, dag_id: str, run_id: str) -> list[Task]:
        """Its task instances."""
        found = self._get(f"{_run_path(dag_id, run_id)}/taskInstances?limit=100")
        return [_task(instance) for instance in found["task_instances"]]

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned; None when it returned nothing."""
        query = urlencode({"deserialize": "true"})
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/return_value?{query}"
        found = self._find(path)
        return None if found is None else found["value"]

    def question(self, dag_id: str, run_id: str, task_id: str) -> Question | None:
        """What a task asks a person; None when it has not asked."""
        found = self._find(_question_path(dag_id, run_id, task_id))
        return None if found is None else _question(found)

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer as this user, unless that was the answer already."""
        try:
            response = {"chosen_options": [option], "params_input": {}}
            self._api.request("PATCH", _question_path(dag_id, run_id, task_id), response)
        except AirflowApiError as error:
            question = self.question(dag_id, run_id, task_id) if error.status == _CONFLICT else None
            if question is None or question.chosen_options != (option,):
                raise

    def follow(
        self, dag_id: str, run_id: str, watch: ProgressWatch, look: Callable[[list[Task]], None]
    ) -> tuple[DagRun, list[Task]]:
        """Wait until a run has ended, whatever its end; ``look`` sees its tasks every time, the last ones, too.

        Raises:
            StalledError: it does not get on.
        """
        while True:
            run, tasks = self.run(dag_id, run_id), self.tasks(dag_id, run_id)
            look(tasks)
            if run.ended:
                return run, tasks
            watch.note(TASKS, signals.states(tasks))
            watch.require_progress(partial(self.unfinished, run))
            time.sleep(_POLL_SECONDS)

    def wait(self, dag_id: str, run_id: str, watch: ProgressWatch, look: Callable[[list[Task]], None]) -> list[Task]:
        """Wait until a run has succeeded and return its tasks; ``look`` sees them every time on the way.

        Raises:
            RunFailedError: it failed.
            StalledError: it does not get on.
        """
        run, tasks = self.follow(dag_id, run_id, watch, look)
        self.require_success(run)
        return tasks

    def wait_for_hours(
        self, dag_id: str, hours: Iterable[datetime], watch: ProgressWatch, look: Callable[[list[Task]], None]
    ) -> Iterator[DagRun]:
        """The runs of these logical dates, each as soon as it has succeeded; ``look`` sees their tasks on the way.

        Raises:
            RunFailedError: one failed.
            StalledError: they do not get on.
        """
        left = set(hours)
        while left:
            runs = [run for run in self.runs(dag_id) if run.logical_date in left]
            for run in runs:
                tasks = self.tasks(dag_id, run.run_id)
                look(tasks)
                watch.note(f"{TASKS} of {run.run_id}", signals.states(tasks))
                if run.ended:
                    self.require_success(run)
                    left.discard(run.logical_date)
                    yield run
            if left:
                watch.require_progress(partial(self._unfinished_hours, dag_id, runs, left))
                time.sleep(_POLL_SECONDS)

    def require_success(self, run: DagRun) -> None:
        """Raise :class:`RunFailedError` with the failed tasks' logs unless the run succeeded."""
        if run.state != "success":
            raise RunFailedError(self.failure(run))

    def failure(self, run: DagRun) -> str:
        """Which tasks of a run failed, and the last lines that they logged."""
        failed = [task for task in self.tasks(run.dag_id, run.run_id) if task.state == "failed"]
        names = ", ".join(task.task_id for task in failed) or "no single task"
        return "\n".join([f"{run.dag_id} {run.run_id} failed: {names}", *map(self._tail, failed)])

    def unfinished(self, run: DagRun) -> str:
        """What a run is doing."""
        doing = [
            f"{task.task_id} ({task.state})"
            for task in self.tasks(run.dag_id, run.run_id)
            if task.state not in ("none", "success", "skipped", "upstream_failed")
        ]
        return f"{run.dag_id} {run.run_id} does not end: {', '.join(doing) or run.state}"

    def log_tail(self, task: Task, lines: int = 40) -> list[str]:
        """The last lines that a task's last try logged."""
        path = f"{_run_path(task.dag_id, task.run_id)}/taskInstances/{task.task_id}/logs/{task.try_number}"
        try:
            mapped = f"&map_index={task.map_index}" if task.map_index >= 0 else ""
            content = self._get(f"{path}?full_content=true{mapped}")["content"]
        except AirflowApiError as error:
            return [f"its log cannot be read: {error}"]
        return [line for message in content for line in log_lines(message)][-lines:]

    def _tail(self, task: Task) -> str:
        return "\n".join([f"--- the end of the log of {task.task_id} ---", *self.log_tail(task)])

    def _get(self, path: str) -> Any:
        return self._api.request("GET", path)

    def _find(self, path: str) -> Any | None:
        """What is at a path; None when nothing is."""
        try:
            return self._get(path)
        except AirflowApiError as error:
            if error.status != _MISSING:
                raise
            return None

    def _unfinished_hours(self, dag_id: str, runs: list[DagRun], left: set[datetime]) -> str:
        waiting = [self.unfinished(run) for run in runs if run.logical_date in left]
        return "\n".join(waiting) or f"{dag_id} did not start {min(left)}"

    def _require_importable(self, dag_id: str) -> None:
        errors = self._get("/importErrors")["import_errors"]
        if any(PurePath(error["filename"]).stem == dag_id for error in errors):
            raise DagMissingError(f"Airflow cannot import {dag_id}\n{self._import_errors()}")

    def _import_errors(self) -> str:
        errors = self._get("/importErrors")["import_errors"]
        return "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors) or "no import errors"


def log_lines(message: Any) -> Iterable[str]:
    """A message of a task log as text: time, event and, where there is one, the exception with its cause."""
    if isinstance(message, str):
        yield message
        return
    yield f"{message.get('timestamp') or '':.19} {message.get('event', '')}".strip()
    for error in message.get("error_detail") or ():
        yield f"    {error.get('exc_type')}: {error.get('exc_value')}"


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _question_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{task_id}/-1/hitlDetails"


def _dag_run(run: dict[str, Any]) -> DagRun:
    return DagRun(run["dag_id"], run["dag_run_id"], run["state"], _moment(run.get("logical_date")))


def _task(instance: dict[str, Any]) -> Task:
    return Task(
        dag_id=instance["dag_id"],
        run_id=instance["dag_run_id"],
        task_id=instance["task_id"],
        state=instance["state"] or "none",
        started=instance.get("start_date"),
        ended=instance.get("end_date"),
        try_number=instance.get("try_number") or 1,
        operator=instance.get("operator_name") or instance.get("operator") or "",
        map_index=instance.get("map_index", -1),
    )


def _question(detail: dict[str, Any]) -> Question:
    return Question(
        subject=detail["subject"],
        body=detail.get("body") or "",
        chosen_options=tuple(detail.get("chosen_options") or ()),
        by=(detail.get("responded_by_user") or {}).get("id"),
        at=_moment(detail.get("responded_at")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
