"""DAG runs over Airflow's REST API: start one, watch its tasks, read what they returned, answer its questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from demo.record import Task
from stack.airflow_client import AirflowApiError

_POLL_SECONDS = 1.5
_MISSING = 404
_SERVER_ERROR = 500
_TRIES = 5


class AirflowApi(Protocol):
    """What is needed of :class:`stack.airflow_client.AirflowClient`; paths are below ``/api/v2``."""

    def get(self, path: str) -> Any:
        """GET a path."""

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body."""

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""


class DagMissingError(RuntimeError):
    """Airflow does not know a DAG; the message holds its import errors."""


class RunFailedError(RuntimeError):
    """A DAG run failed; the message names the failed tasks and ends with their last log lines."""


class RunTimeoutError(RuntimeError):
    """A DAG run did not end in time; the message names what it was doing."""


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
    chosen: tuple[str, ...]
    by: str | None
    at: datetime | None


class Airflow:
    """One user's view of Airflow."""

    def __init__(self, api: AirflowApi) -> None:
        self._api = api

    def unpause(self, dag_id: str, timeout: float = 120) -> None:
        """Let a DAG run, once Airflow has parsed it."""
        deadline = time.monotonic() + timeout
        while not self._is_known(dag_id):
            if time.monotonic() > deadline:
                raise DagMissingError(f"Airflow does not know {dag_id} after {timeout:.0f} s\n{self._import_errors()}")
            time.sleep(_POLL_SECONDS)
        self._api.patch(f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Let a DAG start nothing more."""
        self._api.patch(f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": True})

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, str]) -> DagRun:
        """Start a run without a logical date; ``conf`` sets its params."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        return _dag_run(self._api.post(f"/dags/{dag_id}/dagRuns", body))

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
        try:
            return self._get(path)["value"]
        except AirflowApiError as error:
            if error.status == _MISSING:
                return None
            raise

    def question(self, dag_id: str, run_id: str, task_id: str) -> Question | None:
        """What a task asks a person; None when it has not asked."""
        try:
            return _question(self._get(_question_path(dag_id, run_id, task_id)))
        except AirflowApiError as error:
            if error.status == _MISSING:
                return None
            raise

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer as this user."""
        self._api.patch(_question_path(dag_id, run_id, task_id), {"chosen_options": [option], "params_input": {}})

    def wait(self, dag_id: str, run_id: str, timeout: float, look: Callable[[list[Task]], None]) -> list[Task]:
        """Wait until a run has succeeded and return its tasks; ``look`` sees them every time on the way.

        Raises:
            RunFailedError: it failed.
            RunTimeoutError: it did not end in ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (run := self.run(dag_id, run_id)).ended:
            look(self.tasks(dag_id, run_id))
            if time.monotonic() > deadline:
                raise RunTimeoutError(self.unfinished(run, timeout))
            time.sleep(_POLL_SECONDS)
        self.require_success(run)
        return self.tasks(dag_id, run_id)

    def wait_for_hours(self, dag_id: str, hours: Iterable[datetime], timeout: float) -> Iterator[DagRun]:
        """The runs of these logical dates, each as soon as it has succeeded.

        Raises:
            RunFailedError: one failed.
            RunTimeoutError: some did not succeed in ``timeout`` seconds.
        """
        deadline, left = time.monotonic() + timeout, set(hours)
        while left:
            runs = [run for run in self.runs(dag_id) if run.logical_date in left]
            for run in runs:
                if run.ended:
                    self.require_success(run)
                    left.discard(run.logical_date)
                    yield run
            if left and time.monotonic() > deadline:
                waiting = [self.unfinished(run, timeout) for run in runs] or [f"{dag_id} did not start {min(left)}"]
                raise RunTimeoutError("\n".join(waiting))
            if left:
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

    def unfinished(self, run: DagRun, timeout: float) -> str:
        """What a run was doing when its time was up."""
        doing = [
            f"{task.task_id} ({task.state})"
            for task in self.tasks(run.dag_id, run.run_id)
            if task.state not in ("none", "success", "skipped", "upstream_failed")
        ]
        return f"{run.dag_id} {run.run_id} did not end in {timeout:.0f} s: {', '.join(doing) or run.state}"

    def log_tail(self, task: Task, lines: int = 40) -> list[str]:
        """The last lines that a task's last try logged."""
        path = f"{_run_path(task.dag_id, task.run_id)}/taskInstances/{task.task_id}/logs/{task.try_number}"
        try:
            mapped = f"&map_index={task.map_index}" if task.map_index >= 0 else ""
            content = self._get(f"{path}?full_content=true{mapped}")["content"]
        except AirflowApiError as error:
            return [f"its log cannot be read: {error}"]
        return [line for message in content for line in log_lines(message)][-lines:]

    def _get(self, path: str) -> Any:
        """GET, again after a while when a busy server did not answer or stumbled."""
        for _ in range(_TRIES - 1):
            try:
                return self._api.get(path)
            except AirflowApiError as error:
                if error.status < _SERVER_ERROR:
                    raise
            except OSError:
                pass
            time.sleep(_POLL_SECONDS)
        return self._api.get(path)

    def _tail(self, task: Task) -> str:
        return "\n".join([f"--- the end of the log of {task.task_id} ---", *self.log_tail(task)])

    def _is_known(self, dag_id: str) -> bool:
        try:
            self._get(f"/dags/{dag_id}")
        except AirflowApiError as error:
            if error.status == _MISSING:
                return False
            raise
        return True

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
        started=_moment(instance.get("start_date")),
        ended=_moment(instance.get("end_date")),
        try_number=instance.get("try_number") or 1,
        operator=instance.get("operator_name") or instance.get("operator") or "",
        map_index=instance.get("map_index", -1),
    )


def _question(detail: dict[str, Any]) -> Question:
    return Question(
        subject=detail["subject"],
        body=detail.get("body") or "",
        chosen=tuple(detail.get("chosen_options") or ()),
        by=(detail.get("responded_by_user") or {}).get("id"),
        at=_moment(detail.get("responded_at")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
