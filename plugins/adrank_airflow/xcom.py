"""What a task returned, as a template."""

from __future__ import annotations


def of(task_id: str, key: str) -> str:
    """The field ``key`` of what a task returned, as a template; empty when the task was skipped."""
    return f"{{{{ (ti.xcom_pull(task_ids='{task_id}') or {{}}).get('{key}', '') }}}}"
