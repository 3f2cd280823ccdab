"""Short names for the templates that DAG files pass around."""

from __future__ import annotations

from typing import Final

#: Names a task's Spark work: the same for every try, and for no other work that may be under way. One of many mapped
#: over ranges of hours is told by its range, which stays what it was when another plan numbers them differently.
STEP_NAME: Final = (
    "{{ dag.dag_id }}.{{ task.task_id }} {{ run_id }}{% if task.hours %} {{ task.hours['start'] }}{% endif %}"
)


def of(task_id: str, key: str) -> str:
    """The field ``key`` of what a task returned, as a template; empty when the task was skipped."""
    return f"{{{{ (ti.xcom_pull(task_ids='{task_id}') or {{}}).get('{key}', '') }}}}"


#: The moment that a training run looks back from: its parameter, else the end of its data interval.
AS_OF = "{{ params.as_of or dag_run.data_interval_end.isoformat() }}"
#: Names everything that a training run writes.
RUN_KEY = (
    "{{ (macros.datetime.fromisoformat(params.as_of) if params.as_of else dag_run.data_interval_end)"
    ".astimezone(macros.dateutil.tz.UTC).strftime('%Y%m%dT%H%M%SZ') }}"
)
#: The UTC date that a nightly run is about: its parameter, else the date on which its data interval begins.
DATE = "{{ params.day or dag_run.data_interval_start.strftime('%Y-%m-%d') }}"
#: The start of that day.
DAY = f"{DATE}T00:00:00+00:00"
