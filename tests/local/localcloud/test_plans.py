"""The pure parts: rollout plans, alarm verdicts, spark-submit lines, reasons of failures, configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from localcloud.cloudwatch.alarms import Window, percentile, verdict
from localcloud.emr import spark_submit
from localcloud.processes.failure import last_error
from localcloud.sagemaker import containers, images, rollout
from localcloud.sagemaker.rollout import DeploymentConfigError
from localcloud.settings import Config
from localcloud.storage import lake


def deployment(kind: str, wait: int = 60, **routing: Any) -> dict[str, Any]:
    traffic = {"Type": kind, "WaitIntervalInSeconds": wait, **routing}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": 30}}


def size(value: int, kind: str = "CAPACITY_PERCENT") -> dict[str, Any]:
    return {"Type": kind, "Value": value}


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        (None, (100,)),
        (deployment("ALL_AT_ONCE"), (100,)),
        (deployment("CANARY", CanarySize=size(10)), (10, 100)),
        (deployment("LINEAR", LinearStepSize=size(20)), (20, 40, 60, 80, 100)),
        (deployment("LINEAR", LinearStepSize=size(30)), (30, 60, 90, 100)),
        (deployment("LINEAR", LinearStepSize=size(1, "INSTANCE_COUNT")), (25, 50, 75, 100)),
    ],
)
def test_traffic_moves_in_the_steps_that_were_asked_for(config: Any, shares: tuple[float, ...]) -> None:
    assert rollout.plan(config, instances=4).shares == shares


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (deployment("LINEAR"), "LinearStepSize is required"),
        (deployment("CANARY", CanarySize=size(51)), "at most 50 %"),
        (deployment("ZIGZAG"), "must be ALL_AT_ONCE, CANARY or LINEAR"),
        (deployment("ALL_AT_ONCE", wait=3601), "between 0 and 3600"),
        ({"RollingUpdatePolicy": {}}, "RollingUpdatePolicy"),
    ],
)
def test_impossible_deployments_are_refused(config: Any, says: str) -> None:
    with pytest.raises(DeploymentConfigError, match=says):
        rollout.plan(config, instances=4)


@pytest.mark.parametrize(
    ("points", "needed", "missing", "state"),
    [
        ([5.0, 1.0], 1, "missing", "ALARM"),
        ([5.0, 1.0], 2, "missing", "OK"),
        ([None, None], 1, "missing", "INSUFFICIENT_DATA"),
        ([None, None], 1, "notBreaching", "OK"),
        ([None, None], 1, "ignore", None),
        ([None, None], 2, "breaching", "ALARM"),
        ([5.0, None], 2, "breaching", "ALARM"),
        ([5.0, None], 2, "notBreaching", "OK"),
    ],
)
def test_alarms_count_breaching_points_and_treat_missing_ones_as_told(
    points: list[float | None], needed: int, missing: str, state: str | None
) -> None:
    assert verdict(points, lambda point: point > 2, needed, missing) == state


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([float(value) for value in range(1, 101)], 99) == 99
    assert percentile([7.0], 99.9) == 7
    assert Window.of([]).statistic("p99") is None


def test_a_spark_line_keeps_its_options_and_its_arguments_but_not_the_cluster_manager(tmp_path: Path) -> None:
    config = Config(lake_dir=tmp_path / "lake", state_dir=tmp_path, work_dir=tmp_path, python=Path("/venv/bin/python"))
    config.make_directories()
    (config.lake_dir / config.bucket / "code/job.py").write_text("pass")
    line = "--master yarn --deploy-mode=cluster --conf a=b --verbose s3://adrank-lake/code/job.py --master x"

    command = spark_submit.localize(line.split(), config, tmp_path / "step")

    assert command[0] == "/venv/bin/spark-submit"
    assert "yarn" not in command
    assert "spark.master=local[2]" in command
    raw = (config.lake_dir / "adrank-lake/raw").as_uri()
    assert f"spark.hadoop.fs.viewfs.mounttable.adrank-lake.link./raw={raw}" in command
    assert command[-6:] == ["--conf", "a=b", "--verbose", str(tmp_path / "step/code/job.py"), "--master", "x"]


def test_a_spark_line_without_an_application_is_refused(tmp_path: Path) -> None:
    with pytest.raises(spark_submit.StepError, match="names no application"):
        spark_submit.localize(["--conf", "a=b"], Config(lake_dir=tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("out", "err", "said"),
    [
        ("Traceback\nValueError: row 17\nbye\n", "26/01/01 00:00:00 WARN Native: no library\n", "ValueError: row 17"),
        (
            "",
            "Traceback\n  File x\nadrank.GateError: no\n26/01/01 00:00:00 INFO stop\n",
            "adrank.GateError: no",
        ),
        ("expectation failed\n", 'Setting Spark log level to "WARN".\n', "expectation failed"),
        ("", "", ""),
    ],
)
def test_the_reason_of_a_failure_is_its_last_error(tmp_path: Path, out: str, err: str, said: str) -> None:
    (tmp_path / "out").write_text(out)
    (tmp_path / "err").write_text(err)
    assert last_error(tmp_path / "out", tmp_path / "err")[0] == said


def test_images_are_found_by_repository_name_and_unknown_ones_are_not(tmp_path: Path) -> None:
    catalogue = tmp_path / "images.yaml"
    catalogue.write_text("images: {adrank-serving: {workdir: ., serve: [python, -m, serving.inference.app]}}")
    image = images.find("000000000000.dkr.ecr.eu-west-1.amazonaws.com/adrank-serving:current", catalogue)
    assert images.command(image.serve, Path("/venv/bin/python")) == ["/venv/bin/python", "-m", "serving.inference.app"]
    with pytest.raises(images.UnknownImageError, match="cannot pull image adrank-serving-2:1"):
        images.find("adrank-serving-2:1", catalogue)


def test_nothing_leaves_the_lake_or_the_container(tmp_path: Path) -> None:
    with pytest.raises(lake.LakeError):
        lake.Lake(tmp_path).path("s3://bucket/../../etc/passwd")
    with pytest.raises(lake.LakeError):
        lake.Lake(tmp_path).path("file:///etc/passwd")
    with pytest.raises(containers.DataError):
        containers.inside(tmp_path, "/opt/ml/../../etc")
    with pytest.raises(containers.DataError):
        containers.inside(tmp_path, "/etc")


def test_configuration_refuses_unknown_and_impossible_values(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError):
        Config(port=0)
    with pytest.raises(ValidationError):
        Config(prot=5050)  # type: ignore[call-arg]
    with monkeypatch.context() as misspelt:
        misspelt.setenv("LOCALCLOUD_PROT", "5999")
        with pytest.raises(ValidationError, match="unknown settings in the environment: LOCALCLOUD_PROT"):
            Config()
    monkeypatch.setenv("LOCALCLOUD_PORT", "5999")
    assert Config().client_environment()["AWS_ENDPOINT_URL_EMR"] == "http://127.0.0.1:5999"


def test_children_see_nothing_of_this_process_but_what_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere")
    monkeypatch.setenv("AWS_PROFILE", "production")
    environment = Config(environment={"EXTRA": "1"}).child_environment()
    assert environment["EXTRA"] == "1"
    assert environment["AWS_REGION"] == "eu-west-1"
    assert not {"AIRFLOW_HOME", "AWS_PROFILE", "PYTHONPATH"} & environment.keys()
