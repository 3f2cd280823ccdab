"""What is put to the approver, and the refusal of an approval that no longer fits what would be promoted."""

from __future__ import annotations

from adrank.contracts.base import FrozenModel, sha256_json
from adrank.decisions.experiment import ExperimentVerdict
from adrank.decisions.gate import GateVerdict


class StaleApprovalError(RuntimeError):
    """The approval was given for another package or on other evidence."""


class PromotionEvidence(FrozenModel):
    """What an approval rests on. ``experiment`` is null on the first run, when there was nothing to test against."""

    package_digest: str
    version: str
    production_digest: str = ""
    ndcg_at_10: float
    logged_order_ndcg_at_10: float
    gate: GateVerdict
    experiment: ExperimentVerdict | None = None


def report_digest(evidence: PromotionEvidence) -> str:
    """SHA-256 of the evidence: the approval names it, so evidence that changes afterwards unbinds the approval."""
    return sha256_json(evidence.model_dump(mode="json"), sort_keys=True)


def require_fresh(approved_digest: str, approved_report: str, current_digest: str, current_report: str) -> None:
    """Refuse to act on an approval of another package or of another report.

    :raises StaleApprovalError: naming both sides
    """
    if approved_digest != current_digest:
        raise StaleApprovalError(
            f"approval is for package {approved_digest[:12] or 'none'}, {current_digest[:12]} would be promoted"
        )
    if approved_report != current_report:
        raise StaleApprovalError(
            f"approval rests on report {approved_report[:12] or 'none'}, the report is now {current_report[:12]}"
        )


def approval_body(evidence: PromotionEvidence) -> str:
    """The approval request as Markdown: what would be promoted, what it would replace, and all the evidence."""
    replaced = f"`{evidence.production_digest}`" if evidence.production_digest else "nothing (first deployment)"
    lines = [
        f"## Promote version {evidence.version} to production?",
        "",
        f"- Package: `{evidence.package_digest}`",
        f"- Report: `{report_digest(evidence)}`",
        f"- Replaces: {replaced}",
        f"- NDCG@10 on the by-time test fold: **{evidence.ndcg_at_10:.4f}**, "
        f"logged order {evidence.logged_order_ndcg_at_10:.4f}",
        "",
        f"### Offline gate: {evidence.gate.verdict}",
        "",
        *(f"- {reason}" for reason in evidence.gate.reasons),
        "",
    ]
    return "\n".join(lines + _experiment_lines(evidence.experiment))


def _experiment_lines(experiment: ExperimentVerdict | None) -> list[str]:
    if experiment is None:
        return ["### Live experiment: none", "", "- Nothing was in production to compare with.", ""]
    lines = [
        f"### Live experiment: {experiment.verdict} after {experiment.elapsed_hours:g} h of event time",
        "",
        f"{experiment.users['control']} users in control, {experiment.users['treatment']} in treatment.",
        "",
        "| per search | control | treatment | lift | always-valid interval |",
        "|---|---|---|---|---|",
    ]
    for metric, lift in experiment.lifts.items():
        if lift.lift is None or lift.lower is None or lift.upper is None:
            effect = "| | none yet |"
        else:
            effect = f"| {lift.lift:+.1%} | {lift.lower:+.1%} to {lift.upper:+.1%} |"
        lines.append(f"| {metric} | {lift.control:.4g} | {lift.treatment:.4g} {effect}")
    reasons = list(experiment.reasons)
    if experiment.provisional_revenue_share:
        reasons.append(f"{experiment.provisional_revenue_share:.0%} of the revenue is provisional: not billed yet")
    if experiment.unmatched_events:
        billed = f"{experiment.unmatched_events} events were billed {experiment.unmatched_revenue:.2f}"
        reasons.append(f"{billed} and match no answer of the log: they are in no figure")
    return [*lines, "", *(f"- {reason}" for reason in reasons), ""]
