"""With nothing in production there is nothing to test against: a model goes live once approved, without an A/B.

The product manager answers where a person does, in the UI.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from mlflow import MlflowClient

from demo.runs import approval, weekly
from demo.runs.dag_runs import DagRun, Question
from stack.environment import url
from stack.stall import ProgressWatch
from tests.e2e import browser
from tests.e2e.lived import Lived

pytestmark = [pytest.mark.verify, pytest.mark.e2e, pytest.mark.stack, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class FirstRun:
    """A weekly run that found nothing in production."""

    run: DagRun
    states: dict[str, str]
    question: Question
    package_digest: str
    refused_with: int


def press_approve(lived: Lived, user: str, run: DagRun, package_digest: str) -> int:
    """Press Approve as a user who reads of the package; the server's HTTP status."""
    with browser.signed_in(lived.stack, user) as page:
        page.goto(approval.address(url(lived.stack, "airflow"), run, weekly.APPROVE_PROMOTION))
        page.get_by_text(package_digest).first.wait_for()
        return browser.press(page, approval.APPROVE).status


def registry(lived: Lived) -> MlflowClient:
    return MlflowClient(lived.settings.training.mlflow_tracking_uri)


def aliases(lived: Lived) -> dict[str, str]:
    return dict(registry(lived).get_registered_model(lived.settings.training.registered_model).aliases)


def take_production_away(lived: Lived) -> None:
    sagemaker, endpoint = lived.client("sagemaker"), lived.settings.sagemaker.production_endpoint
    sagemaker.delete_endpoint(EndpointName=endpoint)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=endpoint)
    for alias in aliases(lived):
        registry(lived).delete_registered_model_alias(lived.settings.training.registered_model, alias)


@pytest.fixture(scope="module")
def first(lived: Lived) -> FirstRun:
    take_production_away(lived)
    airflow, as_of = lived.airflow, lived.record.source.end
    run = airflow.trigger(weekly.DAG_ID, "first-model", {"as_of": as_of.isoformat()})
    watch, refused_with = weekly.WeeklyWatch(airflow, lambda stage, line: None), []

    def approve() -> None:
        digest = airflow.returned(run.dag_id, run.run_id, "approval.collect_evidence")["package_digest"]
        refused_with.append(press_approve(lived, "ml_engineer", run, digest))
        assert press_approve(lived, approval.APPROVER, run, digest) == 200

    watch.when(weekly.APPROVE_PROMOTION, ("awaiting_input",), approve)
    run, tasks = watch.follow(run, ProgressWatch(600, {}))
    evidence = airflow.returned(run.dag_id, run.run_id, "approval.collect_evidence")
    question = airflow.question(run.dag_id, run.run_id, weekly.APPROVE_PROMOTION)
    assert question is not None
    states = {task.task_id: task.state for task in tasks}
    return FirstRun(run, states, question, evidence["package_digest"], *refused_with)


def test_it_goes_past_the_experiment_but_not_past_the_approval(first: FirstRun) -> None:
    assert first.run.state == "success"
    assert first.states["ab_test.first_model"] == "success"
    assert {first.states[f"ab_test.{task}"] for task in ("start_routing", "await_verdict")} == {"skipped"}
    assert (first.question.chosen_options, first.question.by) == ((approval.APPROVE,), approval.APPROVER)
    assert first.package_digest in first.question.body


def test_who_is_not_asked_may_not_answer(first: FirstRun) -> None:
    assert first.refused_with == 403


def test_what_was_approved_serves_and_is_what_the_registry_calls_production(lived: Lived, first: FirstRun) -> None:
    assert first.states["production.verify_production"] == "success"
    (version,) = aliases(lived).values()
    assert aliases(lived) == {"production": version}
    model = lived.settings.training.registered_model
    assert registry(lived).get_model_version(model, version).tags["package_digest"] == first.package_digest
    endpoints = lived.client("sagemaker").list_endpoints()["Endpoints"]
    assert [e["EndpointName"] for e in endpoints] == [lived.settings.sagemaker.production_endpoint]
