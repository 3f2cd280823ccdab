"""What must hold of the backfill's graph: either engine does all the work, unchecked features never go online."""

from __future__ import annotations

from typing import Any

import pytest

from adrank.contracts import registry
from tests.dags.test_training_invariants import can_run, graph

GROUPS = [group.name for group in registry.load().groups]
EMR = {f"compute.{name}" for name in GROUPS}
SUBMIT = {f"spark_submit.{name}" for name in GROUPS}
PUSH = {"push.redis", "push.dynamodb"}


@pytest.fixture(scope="session")
def backfill(dags: dict[str, Any]) -> Any:
    return dags["ranking_backfill"]


def test_both_engines_do_the_same_work(backfill: Any) -> None:
    for name in GROUPS:
        emr, submit = (backfill.get_task(f"{engine}.{name}") for engine in ("compute", "spark_submit"))
        assert submit.operator_class.__name__ == "SparkSubmitStepOperator"
        kept = ("entry_point", "sql", "arguments", "leased")
        assert {k: emr.partial_kwargs[k] for k in kept} == {k: submit.partial_kwargs[k] for k in kept}
        assert emr.partial_kwargs["leased"]


def test_the_form_chooses_one_engine_whole(backfill: Any) -> None:
    branches = backfill.get_task("choose_engine").branches
    assert set(branches) == set(backfill.params.get_param("engine").schema["enum"])
    assert backfill.get_task("choose_engine").downstream_task_ids == EMR | SUBMIT
    chosen = {engine: set(backfill.task_group_dict[group].children) for engine, group in branches.items()}
    assert chosen == {"emr": EMR, "spark-submit": SUBMIT}


def test_a_groups_chunks_are_computed_one_at_a_time_and_all_share_the_clusters_pool(backfill: Any) -> None:
    for task in (backfill.get_task(task_id) for task_id in EMR | SUBMIT):
        assert task.max_active_tis_per_dagrun == 1
        assert task.pool == "adrank_emr"
        assert task.upstream_task_ids == {"choose_engine", f"plan.{task.task_id.split('.')[1]}"}


def test_the_skipped_engine_and_what_was_whole_hold_nothing_up_but_a_failure_does(backfill: Any) -> None:
    rule, upstream = graph(backfill)["validate"]
    assert rule == "none_failed"
    assert upstream == EMR | SUBMIT


def test_nothing_goes_online_without_validation(backfill: Any) -> None:
    assert can_run(graph(backfill), never=SUBMIT) >= PUSH
    assert can_run(graph(backfill), never=EMR) >= PUSH
    assert not can_run(graph(backfill), never={"validate"}) & PUSH


def test_the_form_needs_a_range_and_nothing_else(backfill: Any) -> None:
    params = {name: backfill.params.get_param(name) for name in backfill.params}
    assert {name for name, param in params.items() if not param.has_value} == {"start", "end"}
    assert backfill.params["groups"] == GROUPS


@pytest.fixture(scope="session")
def nightly(dags: dict[str, Any]) -> Any:
    return dags["ranking_features_nightly"]


def test_every_group_that_counts_is_proved_every_night_by_what_it_counts(nightly: Any) -> None:
    counting = {group.name for group in registry.load().groups if group.counts}
    checks = {task.task_id: task for task in nightly.tasks if task.task_id.startswith("check.")}
    assert set(checks) == {f"check.{name}" for name in counting}
    assert {task.sql for task in checks.values()} == {f"tiles/{name}.sql" for name in counting}
    assert {task.entry_point for task in checks.values()} == {"check_windows.py"}
    assert set(nightly.task_dict) == {"wait_for_windows", *checks}
