"""What must hold of the weekly graph, however it is rewired: no way around gate, experiment or approval."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dags.graphs import can_run, graph

PRODUCTION = "production.shift_traffic"

GUARDS = [
    pytest.param({"gate.gate_decision"}, id="the gate"),
    pytest.param({"staging.check_parity"}, id="golden-request parity"),
    pytest.param({"ab_test.experiment_decision", "ab_test.first_model"}, id="the experiment or the first-run branch"),
    pytest.param({"approval.approve_promotion"}, id="the approval"),
    pytest.param({"production.check_approval"}, id="the check that the approval still fits"),
]


@pytest.mark.parametrize("guard", GUARDS)
def test_nothing_reaches_production_without(guard: set[str], weekly: Any) -> None:
    assert guard <= set(graph(weekly))
    assert PRODUCTION in can_run(graph(weekly), never=set())
    assert PRODUCTION not in can_run(graph(weekly), never=guard)


@pytest.mark.parametrize("guard", GUARDS)
def test_a_way_around_is_caught(guard: set[str], weekly: Any) -> None:
    shortcut = {**graph(weekly), PRODUCTION: ("all_success", frozenset({"train.train_model"}))}
    assert PRODUCTION in can_run(shortcut, never=guard)


TRAIN = "train.train_model"
CONSISTENCY = {"prepare.require_consistency"}


def test_nothing_is_trained_for_stores_that_nobody_audited(weekly: Any) -> None:
    assert TRAIN in can_run(graph(weekly), never=set())
    assert TRAIN not in can_run(graph(weekly), never=CONSISTENCY)


def test_a_training_around_the_audit_is_caught(weekly: Any) -> None:
    shortcut = {**graph(weekly), "prepare.plan_inputs": ("all_success", frozenset({"prepare.wait_for_features"}))}
    assert TRAIN in can_run(shortcut, never=CONSISTENCY)


def test_production_is_restored_whatever_part_failed_but_only_after_an_approval(weekly: Any) -> None:
    restore = weekly.get_task("production.restore_production")
    assert restore.trigger_rule.value == "one_failed"
    assert restore.upstream_task_ids == {
        "production.shift_traffic",
        "production.verify_production",
        "production.move_aliases",
    }
    assert "'production.check_approval'" in restore.approved_digest


def test_guards_run_only_when_everything_before_them_succeeded(weekly: Any) -> None:
    tasks = {t.task_id: t for t in weekly.tasks}
    guarded = ("approval.approve_promotion", "production.check_approval", PRODUCTION, "production.verify_production")
    assert {tasks[name].trigger_rule.value for name in guarded} == {"all_success"}


def test_evidence_is_collected_on_the_two_ways_that_lead_to_approval_and_no_other(weekly: Any) -> None:
    collect = weekly.get_task("approval.collect_evidence")
    assert collect.upstream_task_ids == {"ab_test.experiment_decision", "ab_test.first_model"}
    assert collect.trigger_rule.value == "none_failed_min_one_success"


def test_only_promote_follows_the_branch_to_approval(weekly: Any) -> None:
    branches = weekly.get_task("ab_test.experiment_decision").branches
    assert {v for v, task in branches.items() if task.startswith("approval.")} == {"promote"}
    assert set(branches) == {"promote", "reject", "extend", "invalid"}
    gate = weekly.get_task("gate.gate_decision").branches
    assert {v for v, task in gate.items() if task.startswith("register.")} == {"pass"}


def test_aliases_move_only_after_the_serving_digest_was_verified(weekly: Any) -> None:
    assert weekly.get_task("production.move_aliases").upstream_task_ids == {"production.verify_production"}


def test_removal_of_staging_is_a_teardown_that_comes_after_everything_that_uses_it(weekly: Any) -> None:
    remove = weekly.get_task("remove_staging")
    assert remove.is_teardown
    assert "staging.claim_staging" in remove.upstream_task_ids
    assert weekly.get_task("staging.claim_staging").is_setup
    before = {t.task_id for t in remove.get_flat_relatives(upstream=True)}
    users = {
        t.task_id for t in weekly.tasks if t.task_id.split(".")[0] in ("staging", "ab_test", "approval", "production")
    }
    assert users <= before | {"ab_test.stop_routing"}


def test_staging_is_claimed_before_it_is_deployed_so_a_failed_one_is_removed_too(weekly: Any) -> None:
    assert weekly.get_task("staging.deploy_staging").upstream_task_ids == {"staging.claim_staging"}


def test_experiment_routing_always_ends(weekly: Any) -> None:
    stop = weekly.get_task("ab_test.stop_routing")
    assert stop.is_teardown
    assert {"staging.claim_staging", "ab_test.start_routing"} <= stop.upstream_task_ids
    assert "ab_test.stop_routing" in weekly.get_task("ab_test.experiment_decision").upstream_task_ids


def test_silence_rejects(weekly: Any) -> None:
    approval = weekly.get_task("approval.approve_promotion")
    assert approval.defaults == ["Reject"]
    assert approval.response_timeout is not None
    assert approval.assigned_users


def test_a_failed_promotion_or_clean_up_fails_the_run(weekly: Any) -> None:
    report = weekly.get_task("report")
    assert report.trigger_rule.value == "none_failed"
    assert {"production.move_aliases", "remove_staging"} <= report.upstream_task_ids
    assert not report.downstream_task_ids
