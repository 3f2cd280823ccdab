"""The report says how the run ended, from what its decisions returned, whichever of them it skipped."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from adrank.contracts.settings import Settings
from adrank_airflow.errors import UnknownFieldError
from adrank_airflow.operators.release.approval import CheckApprovalOperator
from adrank_airflow.operators.release.experiment_verdict import AwaitExperimentVerdictOperator
from adrank_airflow.operators.training.model_registry import PromoteAliasesOperator
from adrank_airflow.operators.training.report import ReportRunOperator
from adrank_airflow.operators.verdicts import JudgeCandidateOperator

PASS = {"verdict": "pass", "reasons": []}
PROMOTE = {"verdict": "promote", "reasons": ["contacts +5 %"]}
RUNS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"judge": {"verdict": "reject", "reasons": ["ndcg fell"]}}, "rejected by the gate", ["ndcg fell"]),
    ({"judge": PASS, "await": {"verdict": "extend", "reasons": ["too few"]}}, "not promoted: extend", ["too few"]),
    ({"judge": PASS, "await": PROMOTE}, "not approved", []),
    ({"judge": PASS}, "not approved", []),
    (
        {"judge": PASS, "await": PROMOTE, "check": {"by": "pm"}, "move": {"production": "3"}},
        "promoted",
        ["approved by pm"],
    ),
    ({"judge": PASS, "move": {"production": "1"}}, "promoted", ["approved by unknown"]),
]


class Pulled:
    def __init__(self, returned: dict[str, Any]) -> None:
        self.returned = returned

    def xcom_pull(self, task_ids: str) -> Any:
        return self.returned.get(task_ids)


def report(settings: Settings, **other: Any) -> ReportRunOperator:
    with DAG(dag_id="d", schedule=None, default_args={"settings": settings}):
        decisions: dict[str, Any] = {
            "gate": JudgeCandidateOperator(task_id="judge", evidence_prefix="e/"),
            "experiment": AwaitExperimentVerdictOperator(task_id="await", experiment_id="x"),
            "approval": CheckApprovalOperator(task_id="check", prefix="a/", package_digest="d", approved={}, answer={}),
            "promotion": PromoteAliasesOperator(task_id="move", version="1", why="approved"),
        }
        return ReportRunOperator(task_id="report", key="training/x/report.json", **{**decisions, **other})


@pytest.mark.parametrize(("returned", "outcome", "reasons"), RUNS)
def test_it_says_how_the_run_ended(
    lake: Any, settings: Settings, returned: dict[str, Any], outcome: str, reasons: list[str]
) -> None:
    task = report(settings)
    context: Any = {"ti": Pulled(returned)}
    found = task.execute(context)
    assert found == {"outcome": outcome, "reasons": reasons, "aliases": returned.get("move", {})}
    assert set(found) == set(ReportRunOperator.returns)
    assert task.lake.read_json("training/x/report.json") == found


def test_a_task_that_decides_nothing_is_refused_as_the_dag_is_parsed(settings: Settings) -> None:
    with pytest.raises(UnknownFieldError, match="nothing returns no verdict, reasons"):
        report(settings, gate=EmptyOperator(task_id="nothing"))
