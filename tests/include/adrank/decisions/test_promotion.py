"""The approval is bound to a package and to the evidence that the approver read."""

from __future__ import annotations

import pytest

from adrank.decisions.experiment import ExperimentVerdict, Lift
from adrank.decisions.gate import GateVerdict
from adrank.decisions.promotion import (
    PromotionEvidence,
    StaleApprovalError,
    approval_body,
    report_digest,
    require_fresh,
)

EXPERIMENT = ExperimentVerdict(
    verdict="promote",
    reasons=("contacts per search 0.1 to 0.15: better",),
    lifts={
        "contacts": Lift(control=0.1, treatment=0.15, lift=0.5, lower=0.4, upper=0.6),
        "revenue": Lift(control=0.0, treatment=0.01, lift=None, lower=None, upper=None),
    },
    users={"control": 1500, "treatment": 1490},
    split_p_value=1.0,
    elapsed_hours=24,
)
EVIDENCE = PromotionEvidence(
    package_digest="a" * 64,
    version="7",
    production_digest="b" * 64,
    ndcg_at_10=0.55,
    logged_order_ndcg_at_10=0.51,
    gate=GateVerdict(verdict="pass", reasons=("relevance: better",)),
    experiment=EXPERIMENT,
)


def test_an_approval_of_this_package_on_this_report_is_fresh() -> None:
    require_fresh("a" * 64, report_digest(EVIDENCE), EVIDENCE.package_digest, report_digest(EVIDENCE))


def test_an_approval_of_another_package_is_stale() -> None:
    with pytest.raises(StaleApprovalError, match="for package bbbbbbbbbbbb, aaaaaaaaaaaa would be promoted"):
        require_fresh("b" * 64, report_digest(EVIDENCE), "a" * 64, report_digest(EVIDENCE))


def test_evidence_that_changed_since_makes_the_approval_stale() -> None:
    changed = EVIDENCE.model_copy(update={"ndcg_at_10": 0.56})
    with pytest.raises(StaleApprovalError, match="rests on report"):
        require_fresh("a" * 64, report_digest(EVIDENCE), "a" * 64, report_digest(changed))


def test_an_approval_that_names_nothing_is_stale() -> None:
    with pytest.raises(StaleApprovalError, match="for package none"):
        require_fresh("", "", "a" * 64, report_digest(EVIDENCE))


def test_the_report_digest_survives_storage() -> None:
    again = PromotionEvidence.model_validate_json(EVIDENCE.model_dump_json())
    assert report_digest(again) == report_digest(EVIDENCE)


def test_the_body_shows_both_digests_and_all_the_evidence() -> None:
    body = approval_body(EVIDENCE)
    for part in (
        "## Promote version 7 to production?",
        f"`{'a' * 64}`",
        f"Replaces: `{'b' * 64}`",
        report_digest(EVIDENCE),
        "**0.5500**, logged order 0.5100",
        "### Offline gate: pass",
        "- relevance: better",
        "### Live experiment: promote after 24 h of event time",
        "1500 users in control, 1490 in treatment.",
        "| contacts | 0.1 | 0.15 | +50.0% | +40.0% to +60.0% |",
        "| revenue | 0 | 0.01 | | none yet |",
        "- contacts per search 0.1 to 0.15: better",
    ):
        assert part in body


def test_a_first_run_says_that_there_was_nothing_to_compare_with() -> None:
    body = approval_body(EVIDENCE.model_copy(update={"experiment": None, "production_digest": ""}))
    assert "Replaces: nothing (first deployment)" in body
    assert "### Live experiment: none" in body


def test_the_approver_is_told_how_much_of_the_revenue_may_yet_be_billed() -> None:
    assert "provisional" not in approval_body(EVIDENCE)
    early = EVIDENCE.model_copy(
        update={"experiment": EXPERIMENT.model_copy(update={"provisional_revenue_share": 0.874})}
    )
    assert "- 87% of the revenue is provisional: not billed yet" in approval_body(early)


def test_the_approver_is_told_what_was_billed_for_no_answer() -> None:
    assert "match no answer" not in approval_body(EVIDENCE)
    lost = {"unmatched_events": 3, "unmatched_revenue": 12.5}
    body = approval_body(EVIDENCE.model_copy(update={"experiment": EXPERIMENT.model_copy(update=lost)}))
    assert "- 3 events were billed 12.50 and match no answer of the log: they are in no figure" in body
