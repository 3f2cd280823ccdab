"""EMR steps run as real processes, in order, with their logs and the reason of their failures."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from tests.local.localcloud.cloud import Cloud
from tests.support.child_process import eventually

pytestmark = pytest.mark.stack

ENDED = ("COMPLETED", "FAILED", "CANCELLED")

SPARK_SCRIPT = """
import sys
import toypackage

target = sys.argv[1]
if "--fail" in sys.argv:
    raise ValueError("row 17 of " + target)
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
rows = spark.range(10).selectExpr("id", "'2026-01-01' as dt").coalesce(1)
rows.write.mode("overwrite").partitionBy("dt").parquet(target)
print("rows", spark.read.parquet(target).count(), toypackage.GREETING)
"""


def shell(script: str) -> list[str]:
    return ["bash", "-c", script]


@pytest.fixture
def emr(cloud: Cloud) -> Any:
    return cloud.client("emr")


@pytest.fixture
def cluster(cloud: Cloud, emr: Any, request: pytest.FixtureRequest) -> Any:
    made: str = run_cluster(cloud, emr, request.node.name, getattr(request, "param", 1))
    yield made
    emr.terminate_job_flows(JobFlowIds=[made])


def run_cluster(cloud: Cloud, emr: Any, name: str, concurrency: int = 1) -> str:
    made: str = emr.run_job_flow(
        Name=name,
        LogUri=cloud.uri("logs/emr/"),
        ReleaseLabel="emr-7.0.0",
        Instances={"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1, "MasterInstanceType": "m5.xlarge"},
        StepConcurrencyLevel=concurrency,
        Tags=[{"Key": "team", "Value": "ads"}],
        JobFlowRole="EMR_EC2_DefaultRole",
        ServiceRole="EMR_DefaultRole",
    )["JobFlowId"]
    return made


def add(emr: Any, cluster: str, *commands: list[str], name: str = "step", on_failure: str = "CONTINUE") -> list[str]:
    steps = [
        {"Name": name, "ActionOnFailure": on_failure, "HadoopJarStep": {"Jar": "command-runner.jar", "Args": command}}
        for command in commands
    ]
    ids: list[str] = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
    return ids


def status(emr: Any, cluster: str, step: str) -> Any:
    return emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]


def ended(emr: Any, cluster: str, step: str, seconds: float = 60) -> Any:
    return eventually(lambda: status(emr, cluster, step), lambda seen: seen["State"] in ENDED, seconds)


def log(cloud: Cloud, cluster: str, step: str, name: str) -> str:
    body = cloud.s3.get_object(Bucket=cloud.bucket, Key=f"logs/emr/{cluster}/steps/{step}/{name}.gz")["Body"].read()
    return gzip.decompress(body).decode()


def publish_code(cloud: Cloud) -> list[str]:
    """Puts a script and a zipped package into the lake, through S3 as the real publisher does."""
    import zipfile

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("toypackage/__init__.py", "GREETING = 'from the zip'\n")
    cloud.s3.put_object(Bucket=cloud.bucket, Key="code/current/toy.zip", Body=zipped.getvalue())
    cloud.s3.put_object(Bucket=cloud.bucket, Key="code/current/spark/toy.py", Body=SPARK_SCRIPT.encode())
    return ["spark-submit", "--deploy-mode", "cluster", "--py-files", cloud.uri("code/current/toy.zip")]


def test_a_spark_step_writes_parquet_that_s3_serves_and_a_failing_one_says_why(
    cloud: Cloud, emr: Any, cluster: str
) -> None:
    submit = publish_code(cloud)
    script, target = cloud.uri("code/current/spark/toy.py"), cloud.uri("features/toy/")
    good, bad = add(emr, cluster, [*submit, script, target], [*submit, script, target, "--fail"])

    done = ended(emr, cluster, good, seconds=180)
    assert done["State"] == "COMPLETED", log(cloud, cluster, good, "stderr")
    assert done["Timeline"]["CreationDateTime"] <= done["Timeline"]["StartDateTime"] <= done["Timeline"]["EndDateTime"]
    assert log(cloud, cluster, good, "stdout") == "rows 10 from the zip\n"
    failed = ended(emr, cluster, bad)
    assert failed["State"] == "FAILED"
    assert failed["FailureDetails"] == {
        "Reason": "Unknown Error.",
        "Message": f"ValueError: row 17 of {target}",
        "LogFile": cloud.uri(f"logs/emr/{cluster}/steps/{bad}/stdout.gz"),
    }
    listed = cloud.s3.list_objects_v2(Bucket=cloud.bucket, Prefix="features/toy/")["Contents"]
    keys = [item["Key"] for item in listed]
    assert "features/toy/_SUCCESS" in keys
    (part,) = [key for key in keys if key.endswith(".parquet")]
    assert part.startswith("features/toy/dt=2026-01-01/part-")
    assert pq.read_table(io.BytesIO(cloud.s3.get_object(Bucket=cloud.bucket, Key=part)["Body"].read())).num_rows == 10


def test_steps_run_first_in_first_out_one_at_a_time_and_continue_after_a_failure(
    cloud: Cloud, emr: Any, cluster: str
) -> None:
    marks = cloud.path("metrics/fifo")
    first, second, third = add(
        emr,
        cluster,
        shell(f"sleep 0.4; echo 1 >> {marks}"),
        shell("echo it broke >&2; exit 3"),
        shell(f"echo 3 >> {marks}"),
    )
    assert status(emr, cluster, second)["State"] == "PENDING"
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "RUNNING"

    assert ended(emr, cluster, third)["State"] == "COMPLETED"
    assert status(emr, cluster, first)["State"] == "COMPLETED"
    assert status(emr, cluster, second)["State"] == "FAILED"
    assert status(emr, cluster, second)["FailureDetails"]["Message"] == "it broke"
    assert marks.read_text() == "1\n3\n"
    listed = [step["Id"] for step in emr.list_steps(ClusterId=cluster)["Steps"]]
    assert listed == [third, second, first]
    assert [step["Id"] for step in emr.list_steps(ClusterId=cluster, StepStates=["FAILED"])["Steps"]] == [second]
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "WAITING"


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_step_concurrency_of_the_cluster_is_respected(cloud: Cloud, emr: Any, cluster: str) -> None:
    released = cloud.path("metrics/released")
    waiting = shell(f"until [ -e {released} ]; do sleep 0.05; done")
    steps = add(emr, cluster, waiting, waiting, waiting)

    states = [status(emr, cluster, step)["State"] for step in steps]
    released.touch()

    assert states == ["RUNNING", "RUNNING", "PENDING"]
    assert {ended(emr, cluster, step)["State"] for step in steps} == {"COMPLETED"}


def test_cancelling_kills_the_whole_process_group_and_frees_the_queue(cloud: Cloud, emr: Any, cluster: str) -> None:
    pid = cloud.path("metrics/child.pid")
    running, pending, last = add(
        emr, cluster, shell(f"sleep 600 & echo $! > {pid}; wait"), shell("exit 0"), shell("exit 0")
    )
    eventually(lambda: pid.exists() and pid.read_text().strip())

    infos = emr.cancel_steps(ClusterId=cluster, StepIds=[pending, running], StepCancellationOption="SEND_INTERRUPT")

    assert {info["Status"] for info in infos["CancelStepsInfoList"]} == {"SUBMITTED"}
    assert ended(emr, cluster, running)["State"] == "CANCELLED"
    assert status(emr, cluster, pending)["State"] == "CANCELLED"
    assert ended(emr, cluster, last)["State"] == "COMPLETED"
    eventually(lambda: not is_alive(int(pid.read_text())))
    (again,) = emr.cancel_steps(ClusterId=cluster, StepIds=[running])["CancelStepsInfoList"]
    assert again["Status"] == "FAILED"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_failure_that_ends_the_cluster_ends_it(cloud: Cloud, emr: Any, cluster: str) -> None:
    _, after = add(emr, cluster, shell("exit 1"), shell("exit 0"), on_failure="TERMINATE_CLUSTER")

    assert ended(emr, cluster, after)["State"] == "CANCELLED"
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "TERMINATED_WITH_ERRORS"
    with pytest.raises(ClientError, match="may not be modified"):
        add(emr, cluster, shell("exit 0"))


def test_code_that_is_not_in_the_lake_fails_the_step_by_name(cloud: Cloud, emr: Any, cluster: str) -> None:
    (step,) = add(emr, cluster, ["spark-submit", cloud.uri("code/nothing.py")])

    assert (
        ended(emr, cluster, step)["FailureDetails"]["Message"] == f"File does not exist: {cloud.uri('code/nothing.py')}"
    )


def test_unknown_clusters_and_steps_are_refused_as_emr_does(emr: Any, cluster: str) -> None:
    with pytest.raises(ClientError, match="Cluster id 'j-NONE' is not valid"):
        emr.describe_step(ClusterId="j-NONE", StepId="s-NONE")
    with pytest.raises(ClientError, match="Step id 's-NONE' is not valid"):
        emr.describe_step(ClusterId=cluster, StepId="s-NONE")


def test_fault_switches_fail_hang_and_lose_the_next_step(cloud: Cloud, emr: Any, cluster: str) -> None:
    cloud.call("POST", "/faults/fail_next_steps", {"match": "unlucky"})
    (spared,) = add(emr, cluster, shell("exit 0"), name="lucky")
    (failed,) = add(emr, cluster, shell("exit 0"), name="unlucky")
    assert ended(emr, cluster, spared)["State"] == "COMPLETED"
    assert "fault switch" in ended(emr, cluster, failed)["FailureDetails"]["Message"]

    cloud.call("POST", "/faults/lose_next_steps")
    assert cloud.call("GET", "/faults")["lose_next_steps"]["count"] == 1
    lost, after = add(emr, cluster, shell("exit 0"), shell("exit 0"))
    assert ended(emr, cluster, after)["State"] == "COMPLETED"
    assert status(emr, cluster, lost)["State"] == "PENDING"

    cloud.call("POST", "/faults/hang_next_steps")
    (hung,) = add(emr, cluster, shell("exit 0"))
    eventually(lambda: status(emr, cluster, hung)["State"] == "RUNNING")
    emr.cancel_steps(ClusterId=cluster, StepIds=[hung, lost])
    assert ended(emr, cluster, hung)["State"] == "CANCELLED"
    assert ended(emr, cluster, lost)["State"] == "CANCELLED"
