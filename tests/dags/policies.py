"""The cluster's rules for a DAG, each a function from a DAG to the violations that it found."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

Policy = Callable[[Any], list[str]]
#: What takes a cluster or instances, whatever extends it.
_SCARCE = {"EmrSparkStepOperator", "SparkSubmitOperator", "_SageMakerJobOperator"}
_INTERVAL_WORDS = ("data_interval_start", "data_interval_end")
_DOC_PARTS = ("**What.**", "**When.**", "**Reads.**", "**Writes.**", "**Owner.**", "**When it fails.**")


def _kinds(task: Any) -> set[str]:
    """The operator's class and those that it extends, of a mapped task too."""
    return {kind.__name__ for kind in getattr(task, "operator_class", type(task)).__mro__}


def has_an_owner(dag: Any) -> list[str]:
    return [t.task_id for t in dag.tasks if t.owner in ("", "airflow")]


def is_tagged_for_on_call(dag: Any) -> list[str]:
    tags = set(dag.tags)
    missing = [] if "adrank" in tags else ["adrank"]
    return missing + ([] if any(tag.startswith("oncall:") for tag in tags) else ["oncall:*"])


def documents_itself(dag: Any) -> list[str]:
    return [part for part in _DOC_PARTS if part not in (dag.doc_md or "")]


def retries(dag: Any) -> list[str]:
    return [t.task_id for t in dag.tasks if t.retries < 1]


def bounds_its_time(dag: Any) -> list[str]:
    tasks = [t.task_id for t in dag.tasks if t.execution_timeout is None and not hasattr(t, "response_timeout")]
    waits = [t.task_id for t in dag.tasks if hasattr(t, "response_timeout") and t.response_timeout is None]
    return tasks + waits + ([] if dag.dagrun_timeout else ["dagrun_timeout"])


def controls_access(dag: Any) -> list[str]:
    return [] if dag.access_control else ["access_control"]


def runs_one_at_a_time(dag: Any) -> list[str]:
    return [] if dag.max_active_runs == 1 else ["max_active_runs"]


def takes_scarce_work_from_a_pool(dag: Any) -> list[str]:
    return [t.task_id for t in dag.tasks if _kinds(t) & _SCARCE and t.pool == "default_pool"]


def reads_intervals_from_a_data_interval_timetable(dag: Any) -> list[str]:
    templated = [str(getattr(t, field, "")) for t in dag.tasks for field in t.template_fields]
    if not any(word in value for word in _INTERVAL_WORDS for value in templated):
        return []
    return [] if type(dag.timetable).__name__ == "CronDataIntervalTimetable" else [type(dag.timetable).__name__]


POLICIES: tuple[Policy, ...] = (
    has_an_owner,
    is_tagged_for_on_call,
    documents_itself,
    retries,
    bounds_its_time,
    controls_access,
    runs_one_at_a_time,
    takes_scarce_work_from_a_pool,
    reads_intervals_from_a_data_interval_timetable,
)


def bare_crons(path: Path) -> list[str]:
    """``schedule="..."`` strings in a DAG file: each becomes a timetable whose interval is empty."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{path.name}:{keyword.value.lineno} schedule={keyword.value.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "schedule"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
    ]
