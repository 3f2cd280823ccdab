"""What a task returned, for another to use; that its operator returns such a thing is checked as the DAG is parsed."""

from __future__ import annotations

from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import UnknownFieldError


def field(task: AdrankTask, key: str) -> str:
    """The field ``key`` of what ``task`` returned, as a template; rendering it fails where nothing was returned."""
    return f"{{{{ ti.xcom_pull(task_ids='{source(task, key)}')['{key}'] }}}}"


def field_or_empty(task: AdrankTask, key: str) -> str:
    """As :func:`field`, of a task that a run may skip or fail without: empty then."""
    return f"{{{{ (ti.xcom_pull(task_ids='{source(task, key)}') or {{}}).get('{key}', '') }}}}"


def source(task: AdrankTask, *keys: str) -> str:
    """Id of a task that returns ``keys``.

    :raises UnknownFieldError: it returns no such field, or one for each item that it is mapped over.
    """
    returned = getattr(task, "returns", ())
    missing = [key for key in keys if key not in returned]
    if missing:
        raise UnknownFieldError(
            f"{task.task_id} returns no {', '.join(missing)}; it returns {', '.join(returned) or 'no fields'}"
        )
    return task.task_id
