"""How a training run ended, in one small document; a run whose promotion or clean-up failed never gets here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adrank_airflow import xcom
from adrank_airflow.base import AdrankTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportRunOperator(AdrankTask):
    """Write what each decision of the run was.

    :param key: where the report goes; templated.
    :param gate: judged the candidate.
    :param experiment: had the verdict on it; may be skipped, as all that follow.
    :param approval: checked the approval.
    :param promotion: moved the aliases.
    """

    returns = ("outcome", "reasons", "aliases")
    template_fields: Sequence[str] = ("key",)

    def __init__(
        self,
        *,
        key: str,
        gate: AdrankTask,
        experiment: AdrankTask,
        approval: AdrankTask,
        promotion: AdrankTask,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.sources = (
            xcom.source(gate, "verdict", "reasons"),
            xcom.source(experiment, "verdict", "reasons"),
            xcom.source(approval, "by"),
            xcom.source(promotion, "production"),
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Return outcome and reasons."""
        gate, experiment, approval, promoted = (context["ti"].xcom_pull(task_ids=id_) or {} for id_ in self.sources)
        if promoted:
            outcome, reasons = "promoted", [f"approved by {approval.get('by', 'unknown')}"]
        elif gate.get("verdict") != "pass":
            outcome, reasons = "rejected by the gate", gate.get("reasons", [])
        elif experiment and experiment["verdict"] != "promote":
            outcome, reasons = f"not promoted: {experiment['verdict']}", experiment["reasons"]
        else:
            outcome, reasons = "not approved", []
        report = {"outcome": outcome, "reasons": reasons, "aliases": promoted}
        self.lake.write_json(self.key, report)
        self.log.info("%s: %s", outcome, "; ".join(reasons))
        return report
