"""Endpoints serve from real processes, shift traffic without losing a request, and roll back as SageMaker does."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.localcloud.cloud import IMAGE, ROLE, Cloud
from tests.support.child_process import eventually

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def sagemaker(cloud: Cloud) -> Any:
    return cloud.client("sagemaker")


def configure(cloud: Cloud, sagemaker: Any, word: str, suffix: str = "", **environment: str) -> str:
    """A model that says ``word`` and an endpoint config for it, both of that name."""
    name = f"{word}{suffix}"
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": cloud.put_model(word), "Environment": environment},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": name,
                "InstanceType": "ml.c6i.xlarge",
                "InitialInstanceCount": 2,
                "InitialVariantWeight": 1.0,
            }
        ],
    )
    return name


def describe(sagemaker: Any, name: str) -> Any:
    return sagemaker.describe_endpoint(EndpointName=name)


def settled(sagemaker: Any, name: str) -> Any:
    return eventually(lambda: describe(sagemaker, name), lambda seen: seen["EndpointStatus"] in ("InService", "Failed"))


def ask(runtime: Any, endpoint: str, **body: Any) -> Any:
    return runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=json.dumps(body))


def word_of(answer: Any) -> str:
    return str(json.loads(answer["Body"].read())["word"])


def blue_green(kind: str, alarms: tuple[str, ...] = (), wait: int = 1, **routing: Any) -> dict[str, Any]:
    policy = {
        "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait, **routing},
        "TerminationWaitInSeconds": 0,
    }
    rollback = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return {"BlueGreenUpdatePolicy": policy, **({"AutoRollbackConfiguration": rollback} if alarms else {})}


def share(percent: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": percent}


@pytest.fixture
def endpoint(cloud: Cloud, sagemaker: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """An endpoint in service that says ``one``."""
    name = request.node.name.replace("_", "-")[-60:].strip("-")
    config = configure(cloud, sagemaker, "one", f"-{name[-40:]}".replace("--", "-"), GREETING="model")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    assert describe(sagemaker, name)["EndpointStatus"] == "Creating"
    assert settled(sagemaker, name)["EndpointStatus"] == "InService"
    yield name
    eventually(lambda: describe(sagemaker, name)["EndpointStatus"] in ("InService", "Failed"))
    sagemaker.delete_endpoint(EndpointName=name)


@contextmanager
def continuous_requests(cloud: Cloud, endpoint: str, threads: int = 4) -> Iterator[list[str]]:
    """Requests all the time; yields what was answered, in order. An error of any request fails the test at the end."""
    answered: list[str] = []
    errors: list[Exception] = []
    over = threading.Event()

    def run() -> None:
        runtime = cloud.runtime
        while not over.is_set():
            try:
                answered.append(word_of(ask(runtime, endpoint, sleep=0.005)))
            except Exception as error:
                errors.append(error)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield answered
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert not errors, f"{len(errors)} of {len(errors) + len(answered)} requests failed: {errors[0]!r}"


@contextmanager
def alarm(cloud: Cloud, name: str, endpoint: str, metric: str, threshold: float, **more: Any) -> Iterator[Any]:
    cloudwatch = cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Period=10,
        EvaluationPeriods=1,
        Threshold=threshold,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
        **(more or {"Statistic": "Sum"}),
    )
    yield lambda: cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]
    cloudwatch.delete_alarms(AlarmNames=[name])


def test_an_endpoint_answers_with_its_model_and_names_its_variant(cloud: Cloud, endpoint: str) -> None:
    answer = ask(cloud.runtime, endpoint)

    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ContentType"] == "application/json"
    assert json.loads(answer["Body"].read())["env"] == "model"
    assert cloud.call("GET", "/endpoints")[endpoint][0]["percent"] == 100


def test_errors_of_the_model_and_unknown_endpoints_come_as_sagemaker_sends_them(cloud: Cloud, endpoint: str) -> None:
    with pytest.raises(cloud.runtime.exceptions.ClientError) as unknown:
        ask(cloud.runtime, "no-such-endpoint")
    assert unknown.value.response["Error"]["Code"] == "ValidationError"

    with pytest.raises(ClientError) as refused:
        ask(cloud.runtime, endpoint, status=422)
    assert refused.value.response["Error"]["Code"] == "ModelError"
    assert refused.value.response["OriginalStatusCode"] == 422
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424


def test_a_container_that_dies_is_replaced(cloud: Cloud, endpoint: str) -> None:
    before = json.loads(ask(cloud.runtime, endpoint)["Body"].read())["pid"]
    with pytest.raises(ClientError, match="ModelError"):
        ask(cloud.runtime, endpoint, die=True)

    def alive() -> int | None:
        try:
            return int(json.loads(ask(cloud.runtime, endpoint)["Body"].read())["pid"])
        except ClientError:
            return None

    assert eventually(alive) != before


def test_a_linear_update_shifts_step_by_step_and_loses_no_request(cloud: Cloud, sagemaker: Any, endpoint: str) -> None:
    config = configure(cloud, sagemaker, "two")
    seen: list[float] = []
    with continuous_requests(cloud, endpoint) as answered:
        eventually(lambda: len(answered) > 20)
        sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            DeploymentConfig=blue_green("LINEAR", LinearStepSize=share(50)),
        )
        described = describe(sagemaker, endpoint)
        assert described["EndpointStatus"] == "Updating"
        assert described["PendingDeploymentSummary"]["EndpointConfigName"] == config
        with pytest.raises(ClientError, match="in-progress"):
            sagemaker.delete_endpoint(EndpointName=endpoint)

        def in_service() -> bool:
            shares = {fleet["config"]: fleet["percent"] for fleet in cloud.call("GET", "/endpoints")[endpoint]}
            if not seen or seen[-1] != shares.get(config, 0):
                seen.append(shares.get(config, 0))
            return bool(describe(sagemaker, endpoint)["EndpointStatus"] == "InService")

        eventually(in_service)
        answered_before = len(answered)
        eventually(lambda: len(answered) > answered_before + 20)

    assert seen[-2:] == [50, 100]
    assert describe(sagemaker, endpoint)["EndpointConfigName"] == config
    assert set(answered[-20:]) == {"two"}
    # While both served, each had its half; the threads make the split uneven, not empty.
    assert min(Counter(answered).values()) > 20


def test_an_alarm_rolls_a_canary_back_silently_to_the_old_config(cloud: Cloud, sagemaker: Any, endpoint: str) -> None:
    old = describe(sagemaker, endpoint)["EndpointConfigName"]
    config = configure(cloud, sagemaker, "three")
    with (
        alarm(cloud, "errors", endpoint, "Invocation5XXErrors", 1e9) as state,
        continuous_requests(cloud, endpoint) as answered,
    ):
        sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            DeploymentConfig=blue_green("CANARY", ("errors",), wait=60, CanarySize=share(10)),
        )
        eventually(lambda: "three" in answered)
        cloud.call("POST", "/faults/trip_alarm", {"name": "errors"})
        assert state() == "ALARM"
        described = settled(sagemaker, endpoint)
        count = len(answered)
        eventually(lambda: len(answered) > count + 20)

    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", old)
    assert "FailureReason" not in described
    assert set(answered[-20:]) == {"one"}


def test_a_green_fleet_that_does_not_start_leaves_the_old_one_in_service(
    cloud: Cloud, sagemaker: Any, endpoint: str
) -> None:
    old = describe(sagemaker, endpoint)["EndpointConfigName"]
    config = configure(cloud, sagemaker, "broken")

    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)

    described = settled(sagemaker, endpoint)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", old)
    assert word_of(ask(cloud.runtime, endpoint)) == "one"


def test_an_endpoint_whose_container_does_not_start_fails_with_the_reason(cloud: Cloud, sagemaker: Any) -> None:
    config = configure(cloud, sagemaker, "broken", "-from-the-start")
    sagemaker.create_endpoint(EndpointName="broken", EndpointConfigName=config)

    described = settled(sagemaker, "broken")

    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "the model is broken" in described["FailureReason"]
    sagemaker.delete_endpoint(EndpointName="broken")


def test_deleting_stops_serving_and_forgets_the_endpoint(cloud: Cloud, sagemaker: Any) -> None:
    config = configure(cloud, sagemaker, "short-lived")
    sagemaker.create_endpoint(EndpointName="short-lived", EndpointConfigName=config)
    settled(sagemaker, "short-lived")
    pid = json.loads(ask(cloud.runtime, "short-lived")["Body"].read())["pid"]
    with pytest.raises(ClientError, match="already existing"):
        sagemaker.create_endpoint(EndpointName="short-lived", EndpointConfigName=config)

    sagemaker.delete_endpoint(EndpointName="short-lived")

    with pytest.raises(ClientError, match="not found"):
        ask(cloud.runtime, "short-lived")

    def gone() -> bool:
        try:
            describe(sagemaker, "short-lived")
        except ClientError as error:
            return "ould not find" in str(error)
        return False

    eventually(gone)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list((cloud.config.work_dir / "endpoints/short-lived").iterdir())


def test_alarms_follow_the_metrics_of_the_gateway(cloud: Cloud, endpoint: str) -> None:
    with (
        alarm(cloud, "5xx", endpoint, "Invocation5XXErrors", 1) as errors,
        alarm(cloud, "p99", endpoint, "ModelLatency", 150_000, ExtendedStatistic="p99") as latency,
    ):
        ask(cloud.runtime, endpoint)
        eventually(lambda: (errors(), latency()), lambda states: states == ("OK", "OK"))
        for _ in range(2):
            with pytest.raises(ClientError):
                ask(cloud.runtime, endpoint, status=500)
        ask(cloud.runtime, endpoint, sleep=0.2)
        eventually(lambda: (errors(), latency()), lambda states: states == ("ALARM", "ALARM"), seconds=10)

        now = datetime.now(UTC)
        statistics = cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="Invocations",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=600,
            Statistics=["Sum"],
        )
        assert sum(point["Sum"] for point in statistics["Datapoints"]) == 4


def test_impossible_updates_are_refused_before_anything_moves(cloud: Cloud, sagemaker: Any, endpoint: str) -> None:
    config = describe(sagemaker, endpoint)["EndpointConfigName"]

    def update(deployment: dict[str, Any], name: str = config) -> None:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=name, DeploymentConfig=deployment)

    with pytest.raises(ClientError, match="at most 50 %"):
        update(blue_green("LINEAR", LinearStepSize=share(60)))
    with pytest.raises(ClientError, match="Could not find CloudWatch alarms no-such-alarm"):
        update(blue_green("ALL_AT_ONCE", ("no-such-alarm",)))
    with pytest.raises(ClientError, match="Could not find endpoint config"):
        update({}, "no-such-config")
    assert describe(sagemaker, endpoint)["EndpointStatus"] == "InService"


def test_the_gateway_costs_less_than_two_milliseconds(cloud: Cloud, endpoint: str) -> None:
    """Median over direct calls of the same container; generous, because the machine is shared."""
    process = int(json.loads(ask(cloud.runtime, endpoint)["Body"].read())["port"])
    body = json.dumps({})

    def median(port: int, path: str) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        times = []
        for _ in range(200):
            started = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            connection.getresponse().read()
            times.append(time.perf_counter() - started)
        return sorted(times)[100]

    direct = median(process, "/invocations")
    through = median(cloud.config.gateway_port, f"/endpoints/{endpoint}/invocations")
    assert through - direct < 0.002
