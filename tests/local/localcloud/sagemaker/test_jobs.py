"""Processing and training jobs run their entry points against the container contract."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.localcloud.cloud import IMAGE, ROLE, Cloud
from tests.support.child_process import eventually

pytestmark = pytest.mark.stack

ENDED = ("Completed", "Failed", "Stopped")


@pytest.fixture
def sagemaker(cloud: Cloud) -> Any:
    return cloud.client("sagemaker")


def train(cloud: Cloud, sagemaker: Any, name: str, *command: str, limit: int = 600, **more: Any) -> None:
    algorithm: dict[str, Any] = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
    if command:
        algorithm["ContainerEntrypoint"] = ["python", "toy_job.py", *command]
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": algorithm,
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": cloud.uri("training/out")},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": limit},
    }
    sagemaker.create_training_job(**{**request, **more})


def process(sagemaker: Any, name: str, *command: str, image: str = IMAGE, **more: Any) -> None:
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        AppSpecification={
            "ImageUri": image,
            "ContainerEntrypoint": ["python", "toy_job.py"],
            "ContainerArguments": list(command),
        },
        RoleArn=ROLE,
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        **more,
    )


def channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def given(name: str, uri: str, data_type: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{name}", "S3DataType": data_type}
    return {"InputName": name, "S3Input": {**source, "S3InputMode": "File"}}


def training(sagemaker: Any, name: str) -> Any:
    described = lambda: sagemaker.describe_training_job(TrainingJobName=name)  # noqa: E731
    return eventually(described, lambda job: job["TrainingJobStatus"] in ENDED)


def processing(sagemaker: Any, name: str) -> Any:
    described = lambda: sagemaker.describe_processing_job(ProcessingJobName=name)  # noqa: E731
    return eventually(described, lambda job: job["ProcessingJobStatus"] in ENDED)


def unpacked(cloud: Cloud, key: str, member: str) -> str:
    body = cloud.s3.get_object(Bucket=cloud.bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        file = tar.extractfile(member)
        assert file
        return file.read().decode()


def test_a_training_job_packs_its_model_and_its_output(cloud: Cloud, sagemaker: Any) -> None:
    cloud.put("training/set/a/train.csv", "1")
    cloud.put("training/set/test.csv", "2")
    train(
        cloud,
        sagemaker,
        "train-ok",
        HyperParameters={"word": "tuned", "seed": "20"},
        InputDataConfig=[channel("training_set", cloud.uri("training/set/"))],
        Environment={"GREETING": "from the request"},
    )

    job = training(sagemaker, "train-ok")

    assert job["TrainingJobStatus"] == "Completed", job
    assert job["SecondaryStatus"] == "Completed"
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]] == [
        *("Starting", "Downloading", "Training", "Uploading", "Completed")
    ]
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == cloud.uri("training/out/train-ok/output/model.tar.gz")
    assert unpacked(cloud, "training/out/train-ok/output/model.tar.gz", "word.txt") == "tuned"
    assert json.loads(unpacked(cloud, "training/out/train-ok/output/output.tar.gz", "result.json")) == {
        "parameters": {"word": "tuned", "seed": "20"},
        "data": {"training_set/a/train.csv": "1", "training_set/test.csv": "2"},
        "greeting": "from the request",
    }


def test_a_processing_job_reads_manifests_and_prefixes_and_uploads_at_its_end(cloud: Cloud, sagemaker: Any) -> None:
    for key in ("raw/events/dt=2026-01-01/hr=00/a", "raw/events/dt=2026-01-01/hr=01/b", "raw/events/other"):
        cloud.put(key, key[-1])
    keys = ["raw/events/dt=2026-01-01/hr=00/a", "raw/events/dt=2026-01-01/hr=01/b"]
    manifest = cloud.put("training/run/events.manifest", json.dumps([{"prefix": f"s3://{cloud.bucket}/"}, *keys]))
    model = cloud.put("models/m/model.tar.gz", "packed")
    output = {"S3Uri": cloud.uri("training/run/seen/"), "LocalPath": "/opt/ml/processing/output/seen"}
    process(
        sagemaker,
        "process-ok",
        *("process", "--as-of", "2026-01-02"),
        ProcessingInputs=[given("events", manifest, "ManifestFile"), given("candidate", model, "S3Prefix")],
        ProcessingOutputConfig={
            "Outputs": [{"OutputName": "seen", "S3Output": {**output, "S3UploadMode": "EndOfJob"}}]
        },
    )

    job = processing(sagemaker, "process-ok")

    assert job["ProcessingJobStatus"] == "Completed", job
    assert job["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.m5.large"
    assert json.loads(cloud.path("training/run/seen/seen.json").read_text()) == {
        "arguments": ["--as-of", "2026-01-02"],
        "inputs": {
            "candidate/model.tar.gz": "packed",
            "events/raw/events/dt=2026-01-01/hr=00/a": "a",
            "events/raw/events/dt=2026-01-01/hr=01/b": "b",
        },
    }


def test_a_failed_job_tells_its_reason_and_uploads_nothing(cloud: Cloud, sagemaker: Any) -> None:
    process(sagemaker, "process-message", "explode", "--message")
    process(sagemaker, "process-stderr", "explode")
    train(cloud, sagemaker, "train-failure", "explode", "--failure")

    job = processing(sagemaker, "process-message")
    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == ("Failed", "row 17 is wrong")
    assert processing(sagemaker, "process-stderr")["FailureReason"] == "AlgorithmError: ValueError: boom, exit code: 1"
    job = training(sagemaker, "train-failure")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "AlgorithmError: no positive queries, exit code: 1"
    assert not cloud.path("training/out/train-failure").exists()
    assert "boom" in cloud.path("logs/sagemaker/train-failure/stderr").read_text()


def test_missing_data_and_unknown_images_fail_the_job_not_the_request(cloud: Cloud, sagemaker: Any) -> None:
    process(sagemaker, "no-data", "process", ProcessingInputs=[given("x", cloud.uri("raw/nothing/"), "S3Prefix")])
    process(sagemaker, "no-image", "process", image="somewhere/unknown:1")

    assert "no S3 objects found" in processing(sagemaker, "no-data")["FailureReason"]
    assert "cannot pull image somewhere/unknown:1" in processing(sagemaker, "no-image")["FailureReason"]


def test_a_stopped_job_ends_stopped_and_its_process_with_it(cloud: Cloud, sagemaker: Any) -> None:
    train(cloud, sagemaker, "train-stopped", "wait")
    process(sagemaker, "process-stopped", "wait")
    work = cloud.config.work_dir / "sagemaker"
    for job in ("training-job/train-stopped", "processing-job/process-stopped"):
        eventually((work / job / "output/started").exists)

    sagemaker.stop_training_job(TrainingJobName="train-stopped")
    sagemaker.stop_processing_job(ProcessingJobName="process-stopped")

    assert training(sagemaker, "train-stopped")["TrainingJobStatus"] == "Stopped"
    assert processing(sagemaker, "process-stopped")["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="ould not find"):
        sagemaker.stop_training_job(TrainingJobName="never-created")


def test_a_job_over_its_time_is_stopped(cloud: Cloud, sagemaker: Any) -> None:
    train(cloud, sagemaker, "train-long", "wait", limit=1)

    job = training(sagemaker, "train-long")

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_job_names_are_unique_and_listed_newest_first(cloud: Cloud, sagemaker: Any) -> None:
    for name in ("listed-1", "other", "listed-2"):
        process(sagemaker, name, "process")
    with pytest.raises(ClientError, match="ResourceInUse"):
        process(sagemaker, "other", "process")
    for name in ("listed-1", "listed-2"):
        processing(sagemaker, name)

    def names(**query: Any) -> list[str]:
        answer = sagemaker.list_processing_jobs(NameContains="listed", SortBy="CreationTime", **query)
        return [job["ProcessingJobName"] for job in answer["ProcessingJobSummaries"]]

    assert names(SortOrder="Descending") == ["listed-2", "listed-1"]
    assert names(SortOrder="Ascending", MaxResults=1) == ["listed-1"]
    assert names(SortOrder="Ascending", StatusEquals="InProgress") == []


def test_fault_switches_fail_hang_and_lose_the_next_job(cloud: Cloud, sagemaker: Any) -> None:
    cloud.call("POST", "/faults/fail_next_jobs", {"count": 1})
    process(sagemaker, "told-to-fail", "process")
    assert "fault switch" in processing(sagemaker, "told-to-fail")["FailureReason"]

    for fault in ("lose", "hang"):
        cloud.call("POST", f"/faults/{fault}_next_jobs")
        train(cloud, sagemaker, f"told-to-{fault}", "train")
        assert sagemaker.describe_training_job(TrainingJobName=f"told-to-{fault}")["TrainingJobStatus"] == "InProgress"
        sagemaker.stop_training_job(TrainingJobName=f"told-to-{fault}")
        assert training(sagemaker, f"told-to-{fault}")["TrainingJobStatus"] == "Stopped"
    process(sagemaker, "back-to-normal", "wait")
    sagemaker.stop_processing_job(ProcessingJobName="back-to-normal")
    assert processing(sagemaker, "back-to-normal")["ProcessingJobStatus"] == "Stopped"
