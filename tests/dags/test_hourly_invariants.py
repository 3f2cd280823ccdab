"""What must hold of the hourly graph: late events never hold an hour up, and nothing unchecked goes online."""

from __future__ import annotations

from typing import Any

import pytest

from adrank.contracts import registry
from tests.dags.test_training_invariants import can_run, graph

COMPUTE = {f"compute.{group.name}" for group in registry.load().groups}
PUSH = {"push.redis", "push.dynamodb"}


@pytest.fixture(scope="session")
def hourly(dags: dict[str, Any]) -> Any:
    return dags["ranking_features_hourly"]


def test_every_group_that_reads_events_is_revised_and_no_other(hourly: Any) -> None:
    revised = {task for task in graph(hourly) if task.startswith("revise.")}
    assert revised == {f"revise.{group.name}" for group in registry.load().groups if "events" in group.inputs}
    assert hourly.get_task("find_late_hours").revisions == {task.removeprefix("revise."): task for task in revised}
    assert hourly.get_task("find_late_hours").downstream_task_ids == revised, "else it would skip more than revisions"


def test_an_hour_is_computed_when_its_revisions_succeed_or_are_skipped_but_not_when_one_fails(hourly: Any) -> None:
    for task in COMPUTE:
        rule, upstream = graph(hourly)[task]
        assert rule == "none_failed"
        assert upstream == {task for task in graph(hourly) if task.startswith("revise.")}


@pytest.mark.parametrize("guard", ["wait_for_raw_hour", "validate"])
def test_nothing_goes_online_without(guard: str, hourly: Any) -> None:
    assert can_run(graph(hourly), never=set()) >= PUSH
    assert not can_run(graph(hourly), never={guard}) & PUSH


def test_what_is_online_is_audited_once_both_stores_were_pushed_and_holds_nothing_up(hourly: Any) -> None:
    rule, upstream = graph(hourly)["audit"]
    assert rule == "all_success"
    assert upstream == PUSH
    assert not hourly.get_task("audit").downstream_task_ids
    assert {"--sample", "--max-skew", "--hour"} <= set(hourly.get_task("audit").arguments)


def test_a_push_around_the_validation_is_caught(hourly: Any) -> None:
    shortcut = {**graph(hourly), "push.redis": ("all_success", frozenset(COMPUTE))}
    assert "push.redis" in can_run(shortcut, never={"validate"})
