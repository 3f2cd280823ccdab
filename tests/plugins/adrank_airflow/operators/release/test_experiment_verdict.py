"""The sensor looks on the log's clock, stores every look, resumes after a crash, and ends on the last date."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from adrank.contracts import lake as layout
from adrank.contracts import timestamps
from adrank.contracts.experiments import Experiment
from adrank.contracts.manifests import BillingManifest, DataFile, RawManifest
from adrank.contracts.settings import ExperimentPlan, Settings
from adrank_airflow.errors import JobFailedError
from adrank_airflow.hooks.experiments import ExperimentsHook
from adrank_airflow.hooks.sagemaker_jobs import SageMakerJobsHook
from adrank_airflow.operators.release.experiment_verdict import AwaitExperimentVerdictOperator
from tests.plugins.deferral import deferral
from tests.plugins.fake_aws import REGION

START = datetime(2026, 3, 8, tzinfo=UTC)
EXPERIMENT = Experiment(
    experiment_id="ab-run-1",
    salt="ab-run-1",
    treatment_share=0.5,
    control_endpoint="p",
    treatment_endpoint="s",
    start=START,
    status="running",
    package_digest="d",
)
PLAN = ExperimentPlan(
    share=0.5, look_interval=timedelta(hours=12), duration=timedelta(hours=24), max_duration=timedelta(hours=36)
)


def variant(users: int, contacts_per_user: float) -> dict[str, Any]:
    """Users with one search each; contacts are Bernoulli, so squares equal totals."""
    contacts = {"total": users * contacts_per_user, "squares": users * contacts_per_user}
    contacts["with_searches"] = contacts["total"]
    return {"users": users, "searches": users, "searches_squares": users, "metrics": {"contacts": contacts}}


def statistics(control: float, treatment: float) -> dict[str, Any]:
    empty = {"total": 0, "squares": 0, "with_searches": 0}
    variants = {"control": variant(4000, control), "treatment": variant(4000, treatment)}
    for side in variants.values():
        side["metrics"] |= {"clicks": empty, "revenue": empty}
    return {
        "experiment_id": "ab-run-1",
        "treatment_share": 0.5,
        "start": START.isoformat(),
        "end": START.isoformat(),
        "variants": variants,
    }


@pytest.fixture
def sensor(lake: Any, monkeypatch: pytest.MonkeyPatch) -> AwaitExperimentVerdictOperator:
    monkeypatch.setattr(ExperimentsHook, "of_endpoint", lambda self, endpoint: [EXPERIMENT])
    settings = Settings(experiment=PLAN)
    return AwaitExperimentVerdictOperator(task_id="await_verdict", settings=settings, experiment_id="ab-run-1")


def measured(sensor: AwaitExperimentVerdictOperator, look: int, control: float, treatment: float) -> None:
    sensor.lake.write_json(f"experiments/ab-run-1/look={look:03d}/look.json", statistics(control, treatment))


def submitted(sensor: AwaitExperimentVerdictOperator, context: Any) -> dict[str, Any]:
    """The job that measures the first look, as SageMaker has it."""
    wait = deferral(sensor.measure, context, {"status": "ready"}, look=1)
    assert wait.method_name == "judge"
    client = boto3.client("sagemaker", region_name=REGION)
    return client.describe_processing_job(ProcessingJobName=wait.kwargs["name"])


def judge(sensor: AwaitExperimentVerdictOperator, context: Any, look: int) -> Any:
    return sensor.judge(context, {"status": "Completed"}, look=look, name="job")


def test_the_first_look_waits_for_every_raw_hour_up_to_it(sensor: AwaitExperimentVerdictOperator, context: Any) -> None:
    wait = deferral(sensor.execute, context)
    assert wait.trigger.keys == [layout.RAW_EVENTS.manifest(START + timedelta(hours=n)) for n in range(12)]
    assert wait.trigger.deadline == (context["dag_run"].start_date + PLAN.wall_clock_timeout).isoformat()
    assert (wait.method_name, wait.kwargs) == ("measure", {"look": 1})


def test_closed_hours_are_measured_from_an_exact_list_of_files(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    for n in range(12):
        hour = START + timedelta(hours=n)
        manifest = RawManifest(
            hour=hour, revision_time=hour, watermark=hour + timestamps.HOUR, rows=1, files=(DataFile(name="p", rows=1),)
        )
        sensor.lake.write_json(layout.RAW_EVENTS.manifest(hour), json.loads(manifest.model_dump_json()))
    (events,) = submitted(sensor, context)["ProcessingInputs"]
    listed = sensor.lake.read_json(events["S3Input"]["S3Uri"].removeprefix("s3://adrank-lake/"))
    assert listed[1:] == [layout.RAW_EVENTS.hour(START + timedelta(hours=n)) + "p" for n in range(12)]


def test_a_look_is_handed_the_billing_that_had_landed_by_its_end(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    hour = RawManifest(hour=START, revision_time=START, watermark=START, rows=1, files=(DataFile(name="p", rows=1),))
    sensor.lake.write_json(layout.RAW_EVENTS.manifest(START), json.loads(hour.model_dump_json()))
    file = DataFile(name="b.csv", rows=1)
    billed = BillingManifest(day=START, landed_at=START + 12 * timestamps.HOUR, currency="EUR", total="1", file=file)
    sensor.lake.write_json(layout.RAW_BILLING.manifest(START), json.loads(billed.model_dump_json()))
    job = submitted(sensor, context)
    inputs = {given["InputName"]: given["S3Input"]["S3Uri"] for given in job["ProcessingInputs"]}
    listed = sensor.lake.read_json(inputs["billing"].removeprefix("s3://adrank-lake/"))
    assert listed[1:] == [layout.RAW_BILLING.manifest_revision(START, 0), layout.RAW_BILLING.day(START) + "b.csv"]
    arguments = job["AppSpecification"]["ContainerArguments"]
    assert arguments[-2:] == ["--billing-maturity", "P2D"]


def test_before_the_full_duration_even_a_clear_lift_only_extends(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    measured(sensor, 1, 0.05, 0.10)
    assert deferral(judge, sensor, context, 1).kwargs == {"look": 2}


def test_after_the_full_duration_a_clear_lift_promotes_and_counts_its_looks(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    measured(sensor, 2, 0.05, 0.10)
    outcome = judge(sensor, context, 2)
    assert (outcome["verdict"], outcome["looks"], outcome["users"]) == (
        "promote",
        2,
        {"control": 4000, "treatment": 4000},
    )
    assert set(outcome) == set(AwaitExperimentVerdictOperator.returns)
    stored = sensor.lake.read_json(outcome["key"])
    assert {"statistics", "settings", "verdict"} <= stored.keys(), "every verdict can be replayed"


def test_an_undecided_experiment_ends_on_the_last_date_as_extend(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    measured(sensor, 3, 0.05, 0.05)
    assert judge(sensor, context, 3)["verdict"] == "extend"


def test_a_clear_harm_ends_it_at_once(sensor: AwaitExperimentVerdictOperator, context: Any) -> None:
    measured(sensor, 1, 0.10, 0.05)
    assert judge(sensor, context, 1)["verdict"] == "reject"


def test_a_new_try_goes_on_after_the_last_stored_look(sensor: AwaitExperimentVerdictOperator, context: Any) -> None:
    measured(sensor, 1, 0.05, 0.05)
    deferral(judge, sensor, context, 1)
    assert deferral(sensor.execute, context).kwargs == {"look": 2}


def test_a_new_try_of_an_ended_experiment_returns_its_verdict(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    measured(sensor, 1, 0.10, 0.05)
    assert judge(sensor, context, 1) == sensor.execute(context)


def test_a_look_that_could_not_be_measured_fails_the_task(
    sensor: AwaitExperimentVerdictOperator, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SageMakerJobsHook, "describe", lambda self, kind, name: {"FailureReason": "no users"})
    with pytest.raises(JobFailedError, match=r"look 1 of ab-run-1.*no users"):
        sensor.judge(context, {"status": "Failed"}, look=1, name="job")


def test_when_the_log_stands_still_the_wall_clock_cap_ends_it_as_extend(
    sensor: AwaitExperimentVerdictOperator, context: Any
) -> None:
    outcome = sensor.measure(context, {"status": "deadline"}, look=1)
    assert (outcome["verdict"], outcome["looks"]) == ("extend", 0)
    assert set(outcome) == set(AwaitExperimentVerdictOperator.returns)
    assert "wall-clock cap" in outcome["reasons"][0]
