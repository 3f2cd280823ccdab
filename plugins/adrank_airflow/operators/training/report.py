"""How a training run ended, in one small document; a run whose promotion or clean-up failed never gets here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from adrank.contracts.settings import Settings
from adrank_airflow.hooks.lake import LakeHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportRunOperator(BaseOperator):
    """Write what each decision of the run was.

    :param key: where the report goes; templated.
    """

    template_fields: Sequence[str] = ("key",)

    def __init__(self, *, settings: Settings, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.key = key

    def execute(self, context: Context) -> dict[str, Any]:
        """Return outcome and reasons."""
        ti = context["ti"]
        gate = ti.xcom_pull(task_ids="gate.judge_candidate") or {}
        experiment = ti.xcom_pull(task_ids="ab_test.await_verdict") or {}
        approval = ti.xcom_pull(task_ids="production.check_approval")
        promoted = ti.xcom_pull(task_ids="production.move_aliases")
        if promoted:
            outcome, reasons = "promoted", [f"approved by {(approval or {}).get('by', 'unknown')}"]
        elif gate.get("verdict") != "pass":
            outcome, reasons = "rejected by the gate", gate.get("reasons", [])
        elif experiment and experiment["verdict"] != "promote":
            outcome, reasons = f"not promoted: {experiment['verdict']}", experiment["reasons"]
        else:
            outcome, reasons = "not approved", []
        report = {"outcome": outcome, "reasons": reasons, "aliases": promoted or {}}
        hook = LakeHook(self.settings.lake.bucket, self.settings.airflow.aws_conn_id, self.settings.region)
        hook.write_json(self.key, report)
        self.log.info("%s: %s", outcome, "; ".join(reasons))
        return report
