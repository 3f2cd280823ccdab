"""Who answers the approval: a simulated product manager over the REST API, or a person in the UI."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from demo.runs.dag_runs import DagRun, DagRunClient, Question

APPROVER: Final = "product_manager"
APPROVE: Final = "Approve"
REJECT: Final = "Reject"
#: How long the simulated manager reads. A task that is answered in the second in which it asks has not yet been seen to
#: wait by Airflow's scheduler, which takes it for killed and lets it ask again.
READING_SECONDS: Final = 6


class NoQuestionError(LookupError):
    """The task that should ask has not asked."""


def decide(question: Question, evidence: Mapping[str, str]) -> str:
    """Approve a question that names the very package and report of the evidence; reject any other."""
    named = [evidence.get("package_digest", ""), evidence.get("report_digest", "")]
    return APPROVE if all(digest and digest in question.body for digest in named) else REJECT


def answer(airflow: DagRunClient, run: DagRun, task_id: str, evidence: Mapping[str, str]) -> str:
    """Answer what a task asks, as the user of ``airflow``; returns the option that was chosen."""
    question = airflow.question(run.dag_id, run.run_id, task_id)
    if question is None:
        raise NoQuestionError(f"{task_id} of {run.run_id} asks nothing")
    option = decide(question, evidence)
    time.sleep(READING_SECONDS)
    airflow.answer(run.dag_id, run.run_id, task_id, option)
    return option


def address(base_url: str, run: DagRun, task_id: str) -> str:
    """Where a person answers."""
    return f"{base_url}/dags/{run.dag_id}/runs/{run.run_id}/tasks/{task_id}/required_actions"
