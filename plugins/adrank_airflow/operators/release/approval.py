"""Put the evidence before the approver, and check afterwards that the approval still fits what would be promoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adrank.decisions.promotion import (
    PromotionEvidence,
    StaleApprovalError,
    approval_body,
    report_digest,
    require_fresh,
)
from adrank_airflow.base import AdrankTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class _ApprovalRecordOperator(AdrankTask):
    ui_color = "#f7f0c6"

    def __init__(self, *, prefix: str, package_digest: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix
        self.package_digest = package_digest

    @property
    def evidence_key(self) -> str:
        """Where the evidence is kept."""
        return f"{self.prefix}evidence.json"

    def production_digest(self) -> str:
        """Digest of the package that the alias ``production`` names now; empty when there is none."""
        package = self.model_registry.by_alias("production")
        return package.package_digest if package else ""


class CollectEvidenceOperator(_ApprovalRecordOperator):
    """Gather both verdicts into one document whose digest the approval names.

    :param figures: ``ndcg_at_10`` and ``logged_order_ndcg_at_10`` of the training job; templated.
    :param gate_verdict_key: stored gate verdict; templated.
    :param experiment_verdict_key: stored verdict of the last look; empty when there was no experiment; templated.
    """

    returns = ("package_digest", "report_digest", "body")
    template_fields: Sequence[str] = (
        "prefix",
        "package_digest",
        "version",
        "figures",
        "gate_verdict_key",
        "experiment_verdict_key",
    )

    def __init__(
        self,
        *,
        version: str,
        figures: Mapping[str, str],
        gate_verdict_key: str,
        experiment_verdict_key: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.figures = dict(figures)
        self.gate_verdict_key = gate_verdict_key
        self.experiment_verdict_key = experiment_verdict_key

    def execute(self, context: Context) -> dict[str, str]:
        """Return the digests that the approval is bound to, and the body that the approver reads."""
        del context
        experiment_key = self.experiment_verdict_key
        evidence = PromotionEvidence.model_validate(
            {
                "package_digest": self.package_digest,
                "version": self.version,
                "production_digest": self.production_digest(),
                **{name: float(value) for name, value in self.figures.items()},
                "gate": self.lake.read_json(self.gate_verdict_key)["verdict"],
                "experiment": self.lake.read_json(experiment_key)["verdict"] if experiment_key else None,
            }
        )
        self.lake.write_json(self.evidence_key, evidence.model_dump(mode="json"))
        return {
            "package_digest": self.package_digest,
            "report_digest": report_digest(evidence),
            "body": approval_body(evidence),
        }


class CheckApprovalOperator(_ApprovalRecordOperator):
    """Refuse an approval that names another package, another report, or another production than there is now.

    :param approved: what :class:`CollectEvidenceOperator` returned before the approver read it; templated.
    :param answer: what the approval task returned; templated.
    """

    returns = ("decision", "by", "at", "package_digest", "report_digest")
    template_fields: Sequence[str] = ("prefix", "package_digest", "approved", "answer")

    def __init__(self, *, approved: Any, answer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approved = approved
        self.answer = answer

    def execute(self, context: Context) -> dict[str, str]:
        """Keep who approved what, and return it."""
        del context
        if self.answer["chosen_options"] != ["Approve"]:
            raise StaleApprovalError(f"the approver answered {self.answer['chosen_options']}")
        evidence = PromotionEvidence.model_validate(self.lake.read_json(self.evidence_key))
        require_fresh(
            self.approved["package_digest"],
            self.approved["report_digest"],
            self.package_digest,
            report_digest(evidence),
        )
        serving = self.production_digest()
        if serving not in (evidence.production_digest, self.package_digest):
            raise StaleApprovalError(
                f"the candidate was compared with {evidence.production_digest[:12] or 'nothing'}, "
                f"production is now {serving[:12] or 'nothing'}"
            )
        by = self.answer["responded_by_user"] or {}
        record = {
            "decision": "Approve",
            "by": str(by.get("id") or by.get("name") or ""),
            "at": str(self.answer["responded_at"]),
            "package_digest": self.package_digest,
            "report_digest": self.approved["report_digest"],
        }
        self.lake.write_json(f"{self.prefix}approval.json", record)
        return record
