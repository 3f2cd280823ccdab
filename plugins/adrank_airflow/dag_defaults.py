"""What every DAG of this repository owes the cluster that it shares, and the templates that say what a run is about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from adrank.contracts.settings import Settings

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


def task_defaults(settings: Settings, owner: str) -> dict[str, Any]:
    """``default_args`` of a DAG owned by ``owner``; operators take their ``settings`` from here."""
    airflow = settings.airflow
    return {
        "settings": settings,
        "owner": owner,
        "queue": airflow.queue,
        "retries": airflow.retries,
        "retry_delay": airflow.retry_delay,
        "execution_timeout": timedelta(minutes=30),
    }


def access_control(settings: Settings) -> dict[str, dict[str, set[str]]]:
    """``access_control``: viewers read, operators also trigger, clear and approve."""
    return {
        settings.airflow.viewer_role: {"DAGs": {"can_read"}, "DAG Runs": {"can_read"}},
        settings.airflow.operator_role: {
            "DAGs": {"can_read", "can_edit"},
            "DAG Runs": {"can_read", "can_create", "can_delete"},
        },
    }
