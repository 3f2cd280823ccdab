"""Absolute deadlines: from when something really began, so that a retry does not restart the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context


def of_run(context: Context, timeout: timedelta) -> datetime:
    """``timeout`` after the DAG run began; every try of a task shares it."""
    started = context["dag_run"].start_date
    return (started or datetime.now(UTC)) + timeout


def after(began: datetime, timeout: timedelta) -> datetime:
    """``timeout`` after the moment that the outside system says it began."""
    return began + timeout
