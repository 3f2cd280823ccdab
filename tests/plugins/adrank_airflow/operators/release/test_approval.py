"""An approval is bound to what the approver read, and to what was in production then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adrank.contracts.settings import Settings
from adrank.decisions.promotion import StaleApprovalError
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook
from adrank_airflow.operators.release.approval import CheckApprovalOperator, CollectEvidenceOperator

DIGEST, BEFORE = "a" * 64, "b" * 64
PREFIX = "training/x/approval/"
YES = {"chosen_options": ["Approve"], "responded_by_user": {"id": "pm"}, "responded_at": "2026-03-09"}


def in_production(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    package = SimpleNamespace(package_digest=digest) if digest else None
    monkeypatch.setattr(ModelRegistryHook, "by_alias", lambda self, alias: package)


@pytest.fixture
def approved(hook: LakeHook, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a first model's approver was shown, with ``BEFORE`` in production."""
    in_production(monkeypatch, BEFORE)
    hook.write_json("verdict.json", {"verdict": {"verdict": "pass", "reasons": ["better"]}})
    collect = CollectEvidenceOperator(
        task_id="collect",
        settings=settings,
        prefix=PREFIX,
        package_digest=DIGEST,
        version="7",
        figures={"ndcg_at_10": "0.55", "logged_order_ndcg_at_10": "0.51"},
        gate_verdict_key="verdict.json",
        experiment_verdict_key="",
    )
    return collect.execute({})


def check(settings: Settings, approved: Any, answer: Any = YES, digest: str = DIGEST) -> dict[str, str]:
    task = CheckApprovalOperator(
        task_id="check", settings=settings, prefix=PREFIX, package_digest=digest, approved=approved, answer=answer
    )
    return task.execute({})


def test_the_approver_reads_the_version_and_what_it_would_replace(approved: dict[str, str]) -> None:
    assert set(approved) == set(CollectEvidenceOperator.returns)
    assert "version 7" in approved["body"]
    assert BEFORE in approved["body"]


def test_an_approval_that_still_fits_is_kept_with_its_approver(
    approved: dict[str, str], hook: LakeHook, settings: Settings
) -> None:
    record = check(settings, approved)
    assert set(record) == set(CheckApprovalOperator.returns)
    assert (record["by"], record["package_digest"]) == ("pm", DIGEST)
    assert hook.read_json(f"{PREFIX}approval.json") == record


@pytest.mark.parametrize("digest", [DIGEST, BEFORE])
def test_a_retry_finds_its_own_package_in_production_or_the_one_before(
    approved: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    in_production(monkeypatch, digest)
    assert check(settings, approved)["decision"] == "Approve"


@pytest.mark.parametrize("digest", ["c" * 64, ""])
def test_another_production_than_the_approver_saw_is_refused(
    approved: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    in_production(monkeypatch, digest)
    with pytest.raises(StaleApprovalError, match="production is now"):
        check(settings, approved)


def test_another_package_and_another_answer_are_refused(approved: dict[str, str], settings: Settings) -> None:
    with pytest.raises(StaleApprovalError, match="would be promoted"):
        check(settings, approved, digest="c" * 64)
    with pytest.raises(StaleApprovalError, match="Reject"):
        check(settings, approved, answer={**YES, "chosen_options": ["Reject"]})
