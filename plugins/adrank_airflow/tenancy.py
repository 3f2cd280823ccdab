"""What every DAG of this repository owes the cluster that it shares: retries, timeouts, access, failure notes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from adrank.contracts.settings import Settings


def task_defaults(settings: Settings, owner: str) -> dict[str, Any]:
    """``default_args`` of a DAG owned by ``owner``; operators take their ``settings`` from here."""
    tenancy = settings.airflow
    return {
        "settings": settings,
        "owner": owner,
        "queue": tenancy.queue,
        "retries": tenancy.retries,
        "retry_delay": tenancy.retry_delay,
        "execution_timeout": timedelta(minutes=30),
    }


def access(settings: Settings) -> dict[str, dict[str, set[str]]]:
    """``access_control``: viewers read, operators also trigger, clear and approve."""
    return {
        settings.airflow.viewer_role: {"DAGs": {"can_read"}, "DAG Runs": {"can_read"}},
        settings.airflow.operator_role: {
            "DAGs": {"can_read", "can_edit"},
            "DAG Runs": {"can_read", "can_create", "can_delete"},
        },
    }
