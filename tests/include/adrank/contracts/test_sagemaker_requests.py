"""What SageMaker is asked for follows from settings and arguments alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adrank.contracts.sagemaker_requests import deployment_config, processing_request, training_request
from adrank.contracts.settings import Rollout, SageMaker, Settings

SETTINGS = Settings(sagemaker=SageMaker(job_timeout=timedelta(hours=3)))
TAGS = {"adrank:dag": "weekly"}


def processing(**changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "name": "adrank-evaluate-1",
        "entrypoint": "training.evaluate",
        "arguments": ["--k", "10"],
        "inputs": {"events": "s3://lake/in/events.manifest", "models": "s3://lake/models/", "ads": ""},
        "outputs": {"evidence": "training/x/evidence/"},
        "tags": TAGS,
    }
    return processing_request(SETTINGS, **{**defaults, **changes})


def test_a_processing_job_reads_exact_lists_and_prefixes_and_nothing_that_is_empty() -> None:
    inputs = {given["InputName"]: given["S3Input"] for given in processing()["ProcessingInputs"]}
    assert {name: given["S3DataType"] for name, given in inputs.items()} == {
        "events": "ManifestFile",
        "models": "S3Prefix",
    }
    assert inputs["models"]["LocalPath"] == "/opt/ml/processing/input/models"


def test_a_processing_job_runs_a_module_and_leaves_its_output_in_the_lake() -> None:
    request = processing()
    application = request["AppSpecification"]
    assert application["ContainerEntrypoint"] == ["python", "-m", "training.evaluate"]
    assert application["ContainerArguments"] == ["--k", "10"]
    (output,) = request["ProcessingOutputConfig"]["Outputs"]
    assert output["S3Output"]["S3Uri"] == f"s3://{SETTINGS.lake.bucket}/training/x/evidence/"
    assert output["S3Output"]["LocalPath"] == "/opt/ml/processing/output/evidence"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 10800}
    assert request["Tags"] == [{"Key": "adrank:dag", "Value": "weekly"}]


def test_a_module_without_arguments_is_given_no_empty_list_which_sagemaker_refuses() -> None:
    assert "ContainerArguments" not in processing(arguments=[])["AppSpecification"]


def test_a_training_job_reads_the_set_and_knows_its_own_name() -> None:
    request = training_request(SETTINGS, "adrank-train-1", {"seed": "20"}, "training/x/set/", "training/x/model/", TAGS)
    assert request["HyperParameters"] == {"seed": "20", "run_name": "adrank-train-1"}
    (channel,) = request["InputDataConfig"]
    assert channel["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://{SETTINGS.lake.bucket}/training/x/set/"
    assert request["OutputDataConfig"] == {"S3OutputPath": f"s3://{SETTINGS.lake.bucket}/training/x/model"}
    assert request["ResourceConfig"]["InstanceType"] == SETTINGS.sagemaker.training_instance
    assert request["Environment"] == {"MLFLOW_TRACKING_URI": SETTINGS.training.mlflow_tracking_uri}


def test_a_canary_has_a_canary_size_and_no_linear_step() -> None:
    policy = deployment_config(Rollout(strategy="CANARY"))["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert "CanarySize" in policy
    assert "LinearStepSize" not in policy


@pytest.mark.parametrize(("timeout", "seconds"), [(timedelta(minutes=1), 600), (timedelta(hours=1), 3600)])
def test_a_shift_has_at_least_the_time_that_sagemaker_demands(timeout: timedelta, seconds: int) -> None:
    policy = deployment_config(Rollout(timeout=timeout))["BlueGreenUpdatePolicy"]
    assert policy["MaximumExecutionTimeoutInSeconds"] == seconds
