"""Where the link of a validation leads, as the UI asks for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adrank_airflow.operators.features.validation import DataDocsLink

RUN = "scheduled__2026-03-01T13:00:00+00:00"


def link(task: Any) -> str:
    (found,) = (link for link in task.operator_extra_links if isinstance(link, DataDocsLink))
    return found.get_link(task, ti_key=SimpleNamespace(run_id=RUN))  # type: ignore[arg-type]
