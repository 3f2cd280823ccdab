"""The gate: what passes, what is rejected, and that every reject names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adrank.contracts.settings import Gate
from adrank.decisions.gate import Difference, GateEvidence, GateVerdict, ObjectiveEvidence, PackageEvidence, judge

UP = Difference(mean=0.03, lower=0.01, upper=0.05)
FLAT = Difference(mean=0.0, lower=-0.02, upper=0.02)
DOWN = Difference(mean=-0.03, lower=-0.05, upper=-0.01)
RELEVANT = ObjectiveEvidence(
    positive_queries=500,
    candidate=0.55,
    logged_order=0.5,
    production=0.52,
    versus_production=UP,
    versus_logged_order=UP,
)
ABSENT = ObjectiveEvidence(positive_queries=0)
CANDIDATE = PackageEvidence(
    digest="c" * 64, fingerprint="f", golden_requests=20, golden_error=0.0, training_set_digest="t"
)
PRODUCTION = PackageEvidence(digest="p" * 64, fingerprint="f", golden_requests=5, golden_error=0.0)


def evidence(**changes: Any) -> GateEvidence:
    objectives = {"relevance": RELEVANT, "contact": ABSENT, "revenue": ABSENT} | changes.pop("objectives", {})
    return GateEvidence(
        **{
            "training_set_digest": "t",
            "fingerprint": "f",
            "test_queries": 900,
            "confidence": 0.95,
            "bootstrap_samples": 2000,
            "seed": 20,
            "candidate": CANDIDATE,
            "production": PRODUCTION,
            "objectives": objectives,
            **changes,
        }
    )


def relevance(**changes: Any) -> dict[str, ObjectiveEvidence]:
    return {"relevance": RELEVANT.model_copy(update=changes)}


def verdict(gate: Gate | None = None, **changes: Any) -> GateVerdict:
    return judge(evidence(**changes), gate or Gate())


def test_a_candidate_that_beats_production_passes() -> None:
    found = verdict()
    assert found.verdict == "pass"
    assert "relevance: NDCG@10 +0.0300 [+0.0100, +0.0500] against production, margin +0" in found.reasons


@pytest.mark.parametrize("difference", [FLAT, DOWN])
def test_a_lower_bound_under_the_margin_is_a_reject(difference: Difference) -> None:
    found = verdict(objectives=relevance(versus_production=difference))
    assert found.verdict == "reject"
    assert found.reasons[0].startswith("relevance: NDCG@10")


def test_each_objective_has_its_own_margin() -> None:
    shown = RELEVANT.model_copy(update={"versus_production": FLAT})
    assert verdict(objectives={"contact": shown}).verdict == "reject"
    gate = Gate(margins={"relevance": 0.0, "contact": -0.02})
    assert verdict(gate, objectives={"contact": shown}).verdict == "pass"


def test_an_objective_that_the_log_does_not_know_is_named_and_does_not_fail() -> None:
    assert "revenue: absent from the log, not judged" in verdict().reasons


def test_an_objective_with_too_few_positives_is_left_to_the_experiment() -> None:
    few = RELEVANT.model_copy(update={"positive_queries": 12, "versus_production": DOWN})
    found = verdict(objectives={"contact": few})
    assert found.verdict == "pass"
    assert any(reason.startswith("contact: only 12 test queries have one, not judged") for reason in found.reasons)


def test_too_few_positive_queries_for_any_judgement() -> None:
    found = verdict(objectives=relevance(positive_queries=199))
    assert found.verdict == "reject"
    assert found.reasons[0] == "only 199 test queries have a positive; 200 are needed"


def test_the_absolute_floor_is_unset_by_default_and_decides_when_set() -> None:
    assert verdict(Gate(min_ndcg_at_10=0.5)).verdict == "pass"
    found = verdict(Gate(min_ndcg_at_10=0.88))
    assert (found.verdict, found.reasons[0]) == ("reject", "NDCG@10 0.5500 is under the floor of 0.88")


class TestFirstRun:
    def test_passes_without_production_and_says_so(self) -> None:
        found = verdict(production=None, objectives=relevance(production=None, versus_production=None))
        assert found.verdict == "pass"
        assert "nothing in production to compare with" in found.reasons

    def test_is_rejected_when_it_is_clearly_worse_than_the_logged_order(self) -> None:
        for difference, expected in ((FLAT, "pass"), (DOWN, "reject")):
            found = verdict(production=None, objectives=relevance(versus_logged_order=difference))
            assert found.verdict == expected

    def test_still_needs_positives_and_the_floor(self) -> None:
        assert verdict(Gate(min_ndcg_at_10=0.6), production=None).verdict == "reject"
        assert verdict(production=None, objectives=relevance(positive_queries=3)).verdict == "reject"


class TestPackages:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"expected_digest": "d" * 64}, "candidate package has digest cccccccccccc, expected dddddddddddd"),
            ({"fingerprint": "g"}, "candidate package was built against feature registry g, the evaluation's is f"),
            ({"golden_error": 1e-6}, "candidate package misses its golden scores by up to 1e-06"),
            ({"golden_requests": 0}, "candidate package has no golden requests"),
            ({"training_set_digest": "u"}, "candidate was trained on training set u, it is evaluated on t"),
        ],
    )
    def test_a_package_that_is_not_what_it_says_is_rejected(self, change: dict[str, Any], reason: str) -> None:
        found = verdict(candidate=CANDIDATE.model_copy(update=change))
        assert (found.verdict, found.reasons[0]) == ("reject", reason)

    def test_production_is_checked_too(self) -> None:
        assert verdict(production=PRODUCTION.model_copy(update={"golden_error": 1.0})).verdict == "reject"


def test_all_that_is_wrong_is_named() -> None:
    found = verdict(
        Gate(min_ndcg_at_10=0.9),
        candidate=CANDIDATE.model_copy(update={"golden_error": 1.0}),
        objectives=relevance(positive_queries=3, versus_production=DOWN),
    )
    assert len(found.reasons) >= 4


def test_intervals_of_less_confidence_than_wanted_do_not_pass() -> None:
    assert verdict(confidence=0.9).verdict == "reject"
    assert verdict(confidence=0.99).verdict == "pass"


def test_an_objective_that_was_not_compared_does_not_pass() -> None:
    found = verdict(objectives=relevance(versus_production=None))
    assert (found.verdict, found.reasons[0]) == ("reject", "relevance: not compared with production")


def test_margins_of_an_unknown_objective_do_not_pass() -> None:
    found = verdict(Gate(margins={"relevance": 0.0, "joy": 0.0}))
    assert (found.verdict, found.reasons[0]) == ("reject", "margins name unknown objectives: joy")


def test_evidence_without_an_objective_is_refused() -> None:
    with pytest.raises(ValidationError, match="evidence lacks objective contact, revenue"):
        GateEvidence.model_validate(evidence().model_dump() | {"objectives": {"relevance": RELEVANT.model_dump()}})


def test_stored_evidence_replays_to_the_same_verdict() -> None:
    stored = GateEvidence.model_validate_json(evidence().model_dump_json())
    assert judge(stored, Gate()) == verdict()
