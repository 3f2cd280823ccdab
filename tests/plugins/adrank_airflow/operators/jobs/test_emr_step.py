"""A Spark step is submitted once, found again by a retry, and explains its failure."""

from __future__ import annotations

import gzip
from datetime import timedelta
from typing import Any
from unittest.mock import MagicMock

import boto3
import pytest
from airflow.sdk import DAG

from adrank.contracts.entry_points.features import ComputeFeatures
from adrank.contracts.settings import Settings
from adrank_airflow.errors import ClusterNotFoundError, DeadlineError, JobFailedError
from adrank_airflow.hooks.emr_steps import EmrStepsHook
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from tests.plugins.deferral import deferral
from tests.plugins.fake_aws import REGION


def operator(settings: Settings) -> EmrSparkStepOperator:
    return EmrSparkStepOperator(
        task_id="ad_engagement",
        settings=settings,
        entry_point=ComputeFeatures,
        values={"group": ["ad_engagement"]},
        step_name="ranking_features_hourly.compute.ad_engagement run-1",
    )


def steps(cluster: str) -> list[dict[str, Any]]:
    return boto3.client("emr", region_name=REGION).list_steps(ClusterId=cluster)["Steps"]


def set_state(monkeypatch: pytest.MonkeyPatch, state: str, message: str = "") -> None:
    described = EmrStepsHook.describe

    def describe(self: EmrStepsHook, cluster_id: str, step_id: str) -> dict[str, Any]:
        step = described(self, cluster_id, step_id)
        step["Status"] |= {"State": state, "FailureDetails": {"Message": message}}
        return step

    monkeypatch.setattr(EmrStepsHook, "describe", describe)


def test_the_step_runs_the_published_code_on_the_published_sql(settings: Settings) -> None:
    command = operator(settings).command()
    assert command[:2] == ["spark-submit", "--py-files"]
    assert "s3://adrank-lake/code/current/spark/compute_features.py" in command
    assert command[command.index("--queries") + 1] == "s3://adrank-lake/code/current/sql"


def named(settings: Settings, **more: Any) -> list[str]:
    """The step's name and the owner of its leases, as the scheduler's context renders them."""
    with DAG(dag_id="ranking_backfill", schedule=None) as dag:
        task = EmrSparkStepOperator(
            task_id="a", settings=settings, entry_point=ComputeFeatures, values={"group": ["a"]}, **more
        )
    task.render_template_fields({"dag": dag, "task": task, "run_id": "run-1"})
    return [task.step_name, *task.command()[task.command().index("--owner") + 1 :]]


def test_a_steps_name_owns_its_leases_and_is_the_same_for_every_try(settings: Settings) -> None:
    assert named(settings) == ["ranking_backfill.a run-1"] * 2


def test_mapped_steps_are_told_apart_by_their_hours_not_by_their_number(settings: Settings) -> None:
    hours = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00"}
    assert named(settings, hours=hours) == ["ranking_backfill.a run-1 2026-03-01T00:00:00+00:00"] * 2


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CANCEL_PENDING"])
def test_a_step_that_has_not_ended_is_live(
    cluster: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    hook = EmrStepsHook(aws_conn_id="aws_default", region_name=REGION)
    step = {"Id": "s-1", "Name": "a step", "Status": {"State": state}}

    def pages(ClusterId: str, StepStates: list[str]) -> list[dict[str, Any]]:  # noqa: N803
        return [{"Steps": [step] if state in StepStates else []}]

    client = MagicMock()
    client.get_paginator.return_value.paginate = pages
    monkeypatch.setattr(EmrStepsHook, "conn", client)
    assert hook.live_step(cluster, "a step") == "s-1"
    assert hook.live_step(cluster, "another") is None


def test_it_defers_with_a_deadline_counted_from_the_steps_creation(
    cluster: str, settings: Settings, context: Any
) -> None:
    deferred = deferral(operator(settings).execute, context)
    (step,) = steps(cluster)
    trigger = deferred.trigger
    assert trigger.reference == {"ClusterId": cluster, "StepId": step["Id"]}
    created = step["Status"]["Timeline"]["CreationDateTime"]
    assert trigger.deadline == (created + settings.emr.step_timeout).isoformat()


def test_a_retry_attaches_to_the_live_step_of_an_earlier_try(cluster: str, settings: Settings, context: Any) -> None:
    references = []
    for _ in range(2):
        references.append(deferral(operator(settings).execute, context).trigger.reference)
    assert references[0] == references[1]
    assert len(steps(cluster)) == 1


def test_another_run_submits_its_own_step(cluster: str, settings: Settings, context: Any) -> None:
    for name in ("run-1", "run-2"):
        task = operator(settings)
        task.step_name = name
        deferral(task.execute, context)
    assert {step["Name"] for step in steps(cluster)} == {"run-1", "run-2"}


def test_without_a_live_cluster_the_error_names_it(aws: None, settings: Settings, context: Any) -> None:
    with pytest.raises(ClusterNotFoundError, match="adrank-features"):
        operator(settings).execute(context)


def test_a_failed_step_brings_its_own_log_lines_into_the_task_log(
    cluster: str,
    lake: Any,
    settings: Settings,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = operator(settings)
    step_id = deferral(task.execute, context).kwargs["step_id"]
    lake.put_object(
        Bucket=settings.lake.bucket,
        Key=f"logs/emr/{cluster}/steps/{step_id}/stderr.gz",
        Body=gzip.compress(b"Traceback\nMissingHourError: 2026-03-01T11:00 has no manifest\n"),
    )
    set_state(monkeypatch, "FAILED", message="MissingHourError: 2026-03-01T11:00 has no manifest")
    log = MagicMock()
    monkeypatch.setattr(EmrSparkStepOperator, "log", log)
    with pytest.raises(JobFailedError, match="MissingHourError"):
        task.finish(context, {"status": "FAILED"}, cluster, step_id)
    assert "stderr: MissingHourError: 2026-03-01T11:00 has no manifest" in [
        call.args[1] for call in log.error.mock_calls
    ]


def test_a_failed_step_is_explained_once_its_log_has_been_shipped(
    cluster: str, lake: Any, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = operator(settings)
    step_id = deferral(task.execute, context).kwargs["step_id"]
    set_state(monkeypatch, "FAILED", message="see the log")
    waiting = deferral(task.finish, context, {"status": "FAILED"}, cluster, step_id)
    trigger = waiting.trigger
    assert trigger.keys == [f"logs/emr/{cluster}/steps/{step_id}/stderr.gz"]
    lake.put_object(Bucket=trigger.bucket, Key=trigger.keys[0], Body=gzip.compress(b"OutOfMemoryError\n"))
    log = MagicMock()
    monkeypatch.setattr(EmrSparkStepOperator, "log", log)
    with pytest.raises(JobFailedError, match="ended FAILED: see the log"):
        getattr(task, waiting.method_name)(context, {"status": "ready"}, **waiting.kwargs)
    assert "stderr: OutOfMemoryError" in [call.args[1] for call in log.error.mock_calls]


def test_a_log_that_never_comes_hides_no_failure(
    cluster: str, lake: Any, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = operator(settings)
    submitted = deferral(task.execute, context)
    set_state(monkeypatch, "FAILED", message="out of memory")
    with pytest.raises(JobFailedError, match="out of memory"):
        task.fail_with_log(context, {"status": "deadline", "missing": ["x"]}, cluster, submitted.kwargs["step_id"])


def test_a_step_past_its_deadline_is_cancelled(
    cluster: str, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(EmrStepsHook, "cancel", lambda self, cluster_id, step_id: cancelled.append(step_id))
    with pytest.raises(DeadlineError, match=str(timedelta(hours=2))):
        operator(settings).finish(context, {"status": "deadline"}, cluster, "s-1")
    assert cancelled == ["s-1"]


def test_a_finished_step_returns_its_ids_only(settings: Settings, context: Any) -> None:
    outcome = operator(settings).finish(context, {"status": "COMPLETED"}, "j-1", "s-1")
    assert outcome == {"cluster_id": "j-1", "step_id": "s-1"}
    assert set(outcome) == set(EmrSparkStepOperator.returns)
