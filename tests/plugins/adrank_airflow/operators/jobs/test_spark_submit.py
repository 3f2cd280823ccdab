"""The same work as an EMR step goes wherever the Spark connection points, and fails with the target's own words."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from adrank.contracts.entry_points.features import ComputeFeatures
from adrank.contracts.settings import Settings
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator

HOURS = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00"}
WORK: dict[str, Any] = {
    "task_id": "ad_engagement",
    "entry_point": ComputeFeatures,
    "values": {"group": ["ad_engagement"]},
    "hours": HOURS,
}


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for spark-submit notes its command line; it fails where a test wants it to."""
    noted = tmp_path / "argv.json"
    fake = tmp_path / "spark-submit"
    fake.write_text(
        f"#!{shlex.quote(sys.executable)}\nimport json, os, sys\n"
        f"json.dump(sys.argv[1:], open({str(noted)!r}, 'w'))\n"
        "print(os.environ.get('SAYS', 'fine'))\nsys.exit('SAYS' in os.environ)\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    connection = {"conn_type": "spark", "host": "spark://cluster.internal:7077"}
    monkeypatch.setenv("AIRFLOW_CONN_ADRANK_SPARK", json.dumps(connection))
    return noted


def run(settings: Settings, try_number: int = 1, **more: Any) -> None:
    task = SparkSubmitStepOperator(settings=settings, name="a step", **WORK, **more)
    context = {"ti": SimpleNamespace(try_number=try_number)}
    SparkSubmitStepOperator.execute.__wrapped__(task, context)  # type: ignore[attr-defined]


def test_the_target_is_the_connections_and_the_work_is_that_of_an_emr_step(settings: Settings, submitted: Path) -> None:
    run(settings)
    argv = json.loads(submitted.read_text())
    step = EmrSparkStepOperator(settings=settings, step_name="a step try 1", **WORK).command()
    assert argv[:2] == ["--master", "spark://cluster.internal:7077"]
    assert argv[argv.index("--name") + 1] == "a step"
    assert argv[argv.index("--py-files") + 1] == step[step.index("--py-files") + 1]
    script = next(n for n, word in enumerate(argv) if word.endswith("compute_features.py"))
    assert argv[script:] == step[3:]
    assert argv[script + 1 :] == [
        *("--group", "ad_engagement", "--bucket", "adrank-lake"),
        *("--queries", "s3://adrank-lake/code/current/sql"),
        *("--start", HOURS["start"], "--end", HOURS["end"], "--owner", "a step try 1"),
    ]


def test_each_try_owns_its_own_leases_because_the_driver_of_a_dead_worker_may_live(
    settings: Settings, submitted: Path
) -> None:
    owners = []
    for number in (1, 2):
        run(settings, number)
        owners.append(json.loads(submitted.read_text())[-2:])
    assert owners == [["--owner", "a step try 1"], ["--owner", "a step try 2"]]


@pytest.mark.parametrize("address", [{}, {"yarn_resourcemanager_webapp_address": "http://rm.internal:8088"}])
def test_on_yarn_a_driver_is_found_again_where_the_resource_manager_can_be_asked(
    settings: Settings, submitted: Path, monkeypatch: pytest.MonkeyPatch, address: dict[str, str]
) -> None:
    extra = {"deploy-mode": "cluster", **address}
    monkeypatch.setenv("AIRFLOW_CONN_ADRANK_SPARK", json.dumps({"conn_type": "spark", "host": "yarn", "extra": extra}))
    ways: list[str] = []
    monkeypatch.setattr(SparkSubmitOperator, "execute_resumable", lambda self, context: ways.append("tracked"))
    run(settings)
    assert ways == ["tracked"] * len(address)
    assert submitted.exists() == (not address)


def test_a_failure_carries_the_last_words_of_the_driver(
    settings: Settings, submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYS", "HourNotReadyError: no manifest for 2026-03-01T07:00")
    with pytest.raises(AirflowException, match="HourNotReadyError: no manifest for 2026-03-01T07:00"):
        run(settings)


def test_a_connection_that_nobody_made_is_named_rather_than_taken_for_yarn(
    settings: Settings, submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_ADRANK_SPARK")
    with pytest.raises(AirflowNotFoundException, match="adrank_spark"):
        run(settings)
    assert not submitted.exists()
