"""A control plane that was killed leaves no process behind and brings production back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.localcloud.cloud import IMAGE, ROLE, Cloud
from tests.support.child_process import eventually

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("restarted"))
    cloud.start("control_plane")
    yield cloud
    cloud.stop()


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_after_a_kill_nothing_runs_on_and_after_a_restart_production_serves(own_cloud: Cloud) -> None:
    cloud = own_cloud
    sagemaker, emr = cloud.client("sagemaker"), cloud.client("emr")
    sagemaker.create_model(
        ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": cloud.put_model("kept")}
    )
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="production", EndpointConfigName="c")
    cluster = emr.run_job_flow(
        Name="adrank-features",
        LogUri=cloud.uri("logs/emr"),
        ReleaseLabel="emr-7.0.0",
        Instances={"KeepJobFlowAliveWhenNoSteps": True},
        StepConcurrencyLevel=3,
        Tags=[{"Key": "Name", "Value": "adrank-features"}],
    )["JobFlowId"]
    pid_file = cloud.path("metrics/grandchild.pid")
    command = ["bash", "-c", f"sleep 600 & echo $! > {pid_file}; wait"]
    jar = {"Jar": "command-runner.jar", "Args": command}
    (step,) = emr.add_job_flow_steps(
        JobFlowId=cluster, Steps=[{"Name": "s", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}]
    )["StepIds"]
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName="a",
        Namespace="n",
        MetricName="m",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        Statistic="Sum",
    )
    cloud.client("secretsmanager").create_secret(Name="redis", SecretString="hush")

    def in_service() -> bool:
        described = cloud.client("sagemaker").describe_endpoint(EndpointName="production")
        return bool(described["EndpointStatus"] == "InService")

    def answer() -> dict[str, object]:
        body = cloud.runtime.invoke_endpoint(EndpointName="production", Body=b"{}")["Body"].read()
        return dict(json.loads(body))

    eventually(in_service)
    serving = int(str(answer()["pid"]))
    grandchild = int(eventually(lambda: pid_file.exists() and pid_file.read_text().strip()))

    cloud.stop("control_plane", number=signal.SIGKILL)

    eventually(lambda: not exists(serving) and not exists(grandchild), seconds=15)

    cloud.start("control_plane")
    eventually(in_service)
    emr = cloud.client("emr")
    assert answer()["word"] == "kept"
    assert cloud.call("GET", "/health") == {"status": "ok", "endpoints": {"production": "InService"}}
    described = emr.describe_cluster(ClusterId=cluster)["Cluster"]
    assert (described["Name"], described["StepConcurrencyLevel"]) == ("adrank-features", 3)
    assert described["Tags"] == [{"Key": "Name", "Value": "adrank-features"}]
    assert described["Status"]["State"] == "WAITING"
    kept = emr.describe_step(ClusterId=cluster, StepId=step)["Step"]
    assert kept["Config"]["Args"] == command
    assert kept["Status"]["State"] == "FAILED"
    assert "localcloud ended" in kept["Status"]["FailureDetails"]["Message"]
    assert cloud.client("secretsmanager").get_secret_value(SecretId="redis")["SecretString"] == "hush"
    assert [alarm["AlarmName"] for alarm in cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]] == ["a"]


def test_a_clean_stop_ends_the_serving_processes(own_cloud: Cloud) -> None:
    cloud = own_cloud
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName="t",
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python", "toy_job.py", "wait"],
        },
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": cloud.uri("training")},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    eventually((cloud.config.work_dir / "sagemaker/training-job/t/output/started").exists)

    cloud.stop("control_plane")
    cloud.start("control_plane")

    job = cloud.client("sagemaker").describe_training_job(TrainingJobName="t")
    assert job["TrainingJobStatus"] == "Failed"
    assert "localcloud ended" in job["FailureReason"]


def test_a_taken_port_is_named(own_cloud: Cloud) -> None:
    environment = {**os.environ, **own_cloud.environment}
    second = subprocess.run(
        [sys.executable, "-m", "localcloud.control_plane", "--port", str(own_cloud.config.gateway_port)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode != 0
    assert f"port {own_cloud.config.gateway_port} (control planes)" in second.stderr
