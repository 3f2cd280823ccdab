"""A candidate is judged from evidence, and compared with production where there is one and only there."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup

from adrank.contracts.settings import Settings
from adrank_airflow.errors import ProductionMismatchError
from adrank_airflow.hooks.endpoints import EndpointsHook
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.operators.verdicts import ExperimentBranchOperator, JudgeCandidateOperator, VerdictBranchOperator

DIGEST = "d" * 64


def chosen(settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch, *, named: str, serves: bool) -> Any:
    there = {"EndpointStatus": "InService"} if serves else None
    monkeypatch.setattr(EndpointsHook, "describe", lambda self, endpoint: there)
    compare, first = (EmptyOperator(task_id=name) for name in ("compare", "first"))
    operator = ExperimentBranchOperator(
        task_id="choose", settings=settings, production_digest=named, compare=compare, first=first
    )
    return operator.choose_branch(context)


def test_what_is_in_production_is_compared_with(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(settings, context, monkeypatch, named=DIGEST, serves=True) == "compare"


def test_a_first_model_has_nothing_to_be_compared_with(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(settings, context, monkeypatch, named="", serves=False) == "first"


@pytest.mark.parametrize(("named", "serves"), [(DIGEST, False), ("", True)])
def test_registry_and_endpoint_that_disagree_stop_the_run(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch, named: str, serves: bool
) -> None:
    with pytest.raises(ProductionMismatchError, match=settings.sagemaker.production_endpoint):
        chosen(settings, context, monkeypatch, named=named, serves=serves)


def test_a_verdict_is_stored_with_all_that_it_rests_on(hook: LakeHook, settings: Settings) -> None:
    package = {"digest": DIGEST, "fingerprint": "f", "golden_requests": 20, "golden_error": 0.0}
    evidence = {
        "training_set_digest": "t",
        "fingerprint": "other",
        "test_queries": 900,
        "confidence": 0.95,
        "bootstrap_samples": 2000,
        "seed": 20,
        "candidate": package,
        "objectives": {name: {"positive_queries": 0} for name in ("relevance", "contact", "revenue")},
    }
    hook.write_json("training/x/evidence/evidence.json", evidence)
    task = JudgeCandidateOperator(task_id="judge", settings=settings, evidence_prefix="training/x/evidence/")
    outcome = task.execute({})
    assert set(outcome) == set(JudgeCandidateOperator.returns)
    assert outcome["verdict"] == "reject"
    stored = hook.read_json(outcome["key"])
    assert stored["evidence"]["candidate"]["digest"] == DIGEST
    assert stored["verdict"]["reasons"] == outcome["reasons"]


def test_a_verdict_is_followed_to_a_task_or_a_group_and_an_unexpected_one_fails() -> None:
    with DAG(dag_id="d", schedule=None):
        branch = VerdictBranchOperator(task_id="branch", verdict="reject")
        with TaskGroup("go") as go:
            EmptyOperator(task_id="on")
        branch.follow(go, "pass")
        branch.follow(EmptyOperator(task_id="stop"), "reject", "invalid")
    assert branch.branches == {"pass": "go", "reject": "stop", "invalid": "stop"}
    assert branch.choose_branch({}) == "stop"
    branch.verdict = ""
    with pytest.raises(ValueError, match="verdict '' is none of pass, reject, invalid"):
        branch.choose_branch({})
