"""The offline gate: may this candidate meet live users?

The evidence compares candidate, production and logged order on one frozen by-time test fold. What decides is the paired
per-query difference to production, one constraint per objective. Users answer where they look, and they look where
production put things, so answers come weighted by the inverse of their position's examination. Where ads rarely change
their position the estimate is rough: the weights are capped (``Gate.min_propensity``), the unweighted difference is
shown beside the weighted one, and the last word is the live experiment's.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from adrank.contracts.base import FrozenModel
from adrank.contracts.settings import Gate

Objective = Literal["relevance", "contact", "revenue"]
OBJECTIVES: Final[tuple[Objective, ...]] = ("relevance", "contact", "revenue")

#: Largest difference between a golden score and the score that the package gives now.
GOLDEN_TOLERANCE: Final = 1e-9


class Difference(FrozenModel):
    """Mean per-query difference in NDCG@10 with its bootstrap interval."""

    mean: float
    lower: float
    upper: float


class ObjectiveEvidence(FrozenModel):
    """NDCG@10 of one objective over the test queries that have a positive of it; null where there is none."""

    positive_queries: int = Field(ge=0)
    candidate: float | None = None
    logged_order: float | None = None
    production: float | None = None
    versus_production: Difference | None = None
    versus_production_as_logged: Difference | None = None
    versus_logged_order: Difference | None = None


class PackageEvidence(FrozenModel):
    """What checking a package's files showed."""

    digest: str
    expected_digest: str | None = None
    fingerprint: str
    golden_requests: int = Field(ge=0)
    golden_error: float = Field(ge=0, description="largest absolute difference to an expected score")
    training_set_digest: str = ""


class GateEvidence(FrozenModel):
    """Everything that the verdict rests on; ``fingerprint`` is the registry's where the evaluation ran."""

    training_set_digest: str
    fingerprint: str
    test_queries: int = Field(ge=0)
    confidence: float = Field(gt=0, lt=1)
    bootstrap_samples: int = Field(ge=1)
    seed: int
    examination: tuple[float, ...] = Field(
        default=(), description="of positions 1, 2, ..., that answers are weighted by"
    )
    candidate: PackageEvidence
    production: PackageEvidence | None = None
    objectives: dict[Objective, ObjectiveEvidence]

    @model_validator(mode="after")
    def _covers_every_objective(self) -> GateEvidence:
        missing = [objective for objective in OBJECTIVES if objective not in self.objectives]
        if missing:
            raise ValueError(f"evidence lacks objective {', '.join(missing)}")
        return self


class GateVerdict(FrozenModel):
    """``pass`` lets the candidate go on to staging. Reasons name every number that counted."""

    verdict: Literal["pass", "reject"]
    reasons: tuple[str, ...]


def judge(evidence: GateEvidence, gate: Gate) -> GateVerdict:
    """The verdict on the evidence. Every constraint is looked at, so a reject names all that is wrong."""
    failed, noted = _package_failures(evidence), list[str]()
    for constraint in (_floor, _enough_queries, _differences):
        bad, good = constraint(evidence, gate)
        failed += bad
        noted += good
    if failed:
        return GateVerdict(verdict="reject", reasons=(*failed, *noted))
    return GateVerdict(verdict="pass", reasons=tuple(noted))


_Findings = tuple[list[str], list[str]]


def _package_failures(evidence: GateEvidence) -> list[str]:
    failed = []
    for name, package in (("candidate", evidence.candidate), ("production", evidence.production)):
        if package is None:
            continue
        if package.expected_digest is not None and package.digest != package.expected_digest:
            failed.append(f"{name} package has digest {package.digest[:12]}, expected {package.expected_digest[:12]}")
        if package.fingerprint != evidence.fingerprint:
            failed.append(
                f"{name} package was built against feature registry {package.fingerprint[:12]}, "
                f"the evaluation's is {evidence.fingerprint[:12]}"
            )
        if not package.golden_requests:
            failed.append(f"{name} package has no golden requests")
        elif package.golden_error > GOLDEN_TOLERANCE:
            failed.append(f"{name} package misses its golden scores by up to {package.golden_error:.3g}")
    trained_on = evidence.candidate.training_set_digest
    if trained_on != evidence.training_set_digest:
        failed.append(
            f"candidate was trained on training set {trained_on[:12] or 'none'}, "
            f"it is evaluated on {evidence.training_set_digest[:12]}"
        )
    return failed


def _floor(evidence: GateEvidence, gate: Gate) -> _Findings:
    reached = evidence.objectives["relevance"].candidate
    if gate.min_ndcg_at_10 is None or reached is None:
        return [], []
    if reached < gate.min_ndcg_at_10:
        return [f"NDCG@10 {reached:.4f} is under the floor of {gate.min_ndcg_at_10}"], []
    return [], [f"NDCG@10 {reached:.4f} reaches the floor of {gate.min_ndcg_at_10}"]


def _enough_queries(evidence: GateEvidence, gate: Gate) -> _Findings:
    positive = evidence.objectives["relevance"].positive_queries
    if positive < gate.min_positive_queries:
        return [f"only {positive} test queries have a positive; {gate.min_positive_queries} are needed"], []
    return [], [f"{positive} of {evidence.test_queries} test queries have a positive"]


def _differences(evidence: GateEvidence, gate: Gate) -> _Findings:
    failed, noted = list[str](), list[str]()
    unknown = sorted(set(gate.margins) - set(OBJECTIVES))
    if unknown:
        failed.append(f"margins name unknown objectives: {', '.join(unknown)}")
    if evidence.confidence < gate.confidence:
        failed.append(f"intervals have confidence {evidence.confidence}, {gate.confidence} is wanted")
    if evidence.production is None:
        return _first_run(evidence, failed, noted)
    for objective in OBJECTIVES:
        shown = evidence.objectives[objective]
        if objective not in gate.margins:
            continue
        if shown.positive_queries == 0:
            noted.append(f"{objective}: absent from the log, not judged")
        elif objective != "relevance" and shown.positive_queries < gate.min_positive_queries:
            noted.append(
                f"{objective}: only {shown.positive_queries} test queries have one, not judged "
                f"({gate.min_positive_queries} are needed); left to the experiment's guardrails"
            )
        elif shown.versus_production is None:
            failed.append(f"{objective}: not compared with production")
        else:
            margin = gate.margins[objective]
            text = f"{objective}: NDCG@10 {_formatted(shown.versus_production)} against production, margin {margin:+g}"
            if shown.versus_production_as_logged is not None:
                text += f" (unweighted, as logged: {_formatted(shown.versus_production_as_logged)})"
            (noted if shown.versus_production.lower >= margin else failed).append(text)
    return failed, noted


def _first_run(evidence: GateEvidence, failed: list[str], noted: list[str]) -> _Findings:
    """Nothing is in production, so the logged order stands in: significantly worse than it is a reject."""
    noted.append("nothing in production to compare with")
    against_log = evidence.objectives["relevance"].versus_logged_order
    if against_log is not None:
        text = f"relevance: NDCG@10 {_formatted(against_log)} against the logged order"
        (failed if against_log.upper < 0 else noted).append(text)
    return failed, noted


def _formatted(difference: Difference) -> str:
    return f"{difference.mean:+.4f} [{difference.lower:+.4f}, {difference.upper:+.4f}]"
