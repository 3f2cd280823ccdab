"""What must hold of the nightly billing graph."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from adrank_airflow.errors import ExportQuarantinedError


@pytest.fixture(scope="session")
def nightly(dags: dict[str, Any]) -> Any:
    return dags["ranking_billing_nightly"]


def rendered(nightly: Any, task_id: str, field: str, day: str | None) -> Any:
    run = SimpleNamespace(data_interval_start=datetime(2026, 3, 1, 3, tzinfo=UTC))
    task = nightly.get_task(task_id)
    context = {"params": {"day": day}, "dag_run": run}
    return task.render_template(getattr(task, field), context, nightly.get_template_env())


def test_a_refused_export_fails_the_run_because_nothing_comes_after_it(nightly: Any) -> None:
    assert [task.task_id for task in nightly.leaves] == ["require_landed"]
    assert nightly.get_task("require_landed").upstream_task_ids == {"land_export"}
    assert {task.trigger_rule.value for task in nightly.tasks} == {"all_success"}
    assert ExportQuarantinedError.__mro__[1].__name__ == "AirflowFailException"


def test_missed_nights_are_made_up(nightly: Any) -> None:
    assert nightly.catchup


@pytest.mark.parametrize(("day", "date"), [(None, "2026-03-01"), ("2026-02-07", "2026-02-07")])
def test_every_task_is_about_the_day_before_the_night_or_the_one_of_the_form(
    nightly: Any, day: str | None, date: str
) -> None:
    start = f"{date}T00:00:00+00:00"
    assert rendered(nightly, "wait_for_export", "at", day) == start
    assert rendered(nightly, "land_export", "as_of", day) == start
    assert rendered(nightly, "land_export", "arguments", day)[:2] == ["--day", start]
    assert rendered(nightly, "require_landed", "at", day) == start
    assert rendered(nightly, "land_export", "outputs", day) == {"verdict": f"verdicts/billing/dt={date}/"}
