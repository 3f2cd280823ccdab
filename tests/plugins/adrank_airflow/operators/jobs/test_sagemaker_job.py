"""A job is submitted once per try; a retry attaches; its failure says why."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import boto3
import pytest

from adrank.contracts.entry_points.training import BuildTrainingSet
from adrank.contracts.settings import Settings
from adrank_airflow.errors import JobFailedError
from adrank_airflow.hooks.sagemaker_jobs import SageMakerJobsHook
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator, SageMakerTrainingJobOperator
from tests.plugins.deferral import deferral
from tests.plugins.fake_aws import REGION

AS_OF = "2026-03-08T00:00:00+00:00"


def processing(settings: Settings, **changes: Any) -> SageMakerProcessingJobOperator:
    return SageMakerProcessingJobOperator(
        task_id="build",
        settings=settings,
        job="training-set",
        as_of=AS_OF,
        entry_point=BuildTrainingSet,
        values={"as_of": AS_OF},
        inputs={"events": "s3://adrank-lake/in/events.manifest", "models": "s3://adrank-lake/models/", "ads": ""},
        outputs={"training_set": "training/x/training_set/"},
        **changes,
    )


def training(settings: Settings) -> SageMakerTrainingJobOperator:
    return SageMakerTrainingJobOperator(
        task_id="train",
        settings=settings,
        job="train",
        as_of=AS_OF,
        hyperparameters={"seed": 20},
        training_set="training/x/training_set/",
        output_prefix="training/x/model/",
    )


def submitted(task: Any, context: Any) -> str:
    return str(deferral(task.execute, context).kwargs["name"])


def test_inputs_are_exact_lists_or_prefixes_and_an_empty_one_is_left_out(settings: Settings) -> None:
    inputs = {i["InputName"]: i["S3Input"]["S3DataType"] for i in processing(settings).request("x")["ProcessingInputs"]}
    assert inputs == {"events": "ManifestFile", "models": "S3Prefix"}


def test_the_name_holds_purpose_and_as_of(aws: None, settings: Settings, context: Any) -> None:
    assert submitted(processing(settings), context) == "adrank-training-set-20260308T000000Z-1"


def test_a_retry_attaches_to_the_job_that_is_in_progress(
    aws: None, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submitted(training(settings), context)
    monkeypatch.setattr(SageMakerJobsHook, "tries", lambda self, kind, base: {1: "InProgress"})
    assert submitted(training(settings), context) == first
    assert len(boto3.client("sagemaker", region_name=REGION).list_training_jobs()["TrainingJobSummaries"]) == 1


def test_a_rerun_after_the_job_ended_takes_the_next_name(aws: None, settings: Settings, context: Any) -> None:
    assert [submitted(training(settings), context) for _ in range(2)] == [
        "adrank-train-20260308T000000Z-1",
        "adrank-train-20260308T000000Z-2",
    ]


def test_another_jobs_names_are_not_mistaken_for_tries(aws: None, settings: Settings, context: Any) -> None:
    other = training(settings)
    other.job = "train-shadow"
    submitted(other, context)
    assert submitted(training(settings), context).endswith("Z-1")


def test_a_failed_job_fails_the_task_with_the_jobs_own_reason(
    aws: None, settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = {"FailureReason": "NoPositivesError: no click in 2026-03-01..2026-03-08"}
    monkeypatch.setattr(SageMakerJobsHook, "describe", lambda self, kind, name: reason)
    with pytest.raises(JobFailedError, match="NoPositivesError: no click"):
        training(settings).finish(context, {"status": "Failed"}, "adrank-train-1")


def test_a_finished_training_returns_ids_digest_and_headline_figures_only(
    lake: Any, settings: Settings, context: Any
) -> None:
    name = submitted(training(settings), context)
    result = {
        "mlflow_run_id": "r",
        "package_digest": "d",
        "ndcg_at_10": 0.5,
        "logged_order_ndcg_at_10": 0.4,
        "train_rows": 10,
        "queries": 2,
        "importance": {"ctr_7d": 1.0},
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        body = json.dumps(result).encode()
        entry = tarfile.TarInfo("./result.json")
        entry.size = len(body)
        tar.addfile(entry, io.BytesIO(body))
    key = f"training/x/model/{name}/output/output.tar.gz"
    lake.put_object(Bucket=settings.lake.bucket, Key=key, Body=packed.getvalue())
    outcome = training(settings).finish(context, {"status": "Completed"}, name)
    assert outcome["package_digest"] == "d"
    assert "importance" not in outcome
    assert set(outcome) == set(SageMakerTrainingJobOperator.returns)
