"""Every DAG keeps the rules of the shared cluster, and every rule can fail."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from tests.dags import policies
from tests.dags.policies import POLICIES, Policy

ROOT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
HEAVY = ("pandas", "lightgbm", "mlflow", "pyspark", "redis", "duckdb", "great_expectations")
PARSE_SECONDS = 2.0


def test_every_dag_file_imports_without_errors(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}
    assert {path.stem for path in DAG_FILES} == set(dag_bag.dags), "a file is called like its DAG"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_every_dag(policy: Policy, dags: dict[str, Any]) -> None:
    assert {dag_id: policy(dag) for dag_id, dag in dags.items()} == {dag_id: [] for dag_id in dags}


class EmrSparkStepOperator(BaseOperator):
    """Looks scarce by its name and breaks every rule."""

    template_fields = ("hour",)

    def __init__(self, hour: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hour = hour


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_a_careless_dag_is_caught_by(policy: Policy) -> None:
    with DAG(dag_id="careless", schedule="@hourly", start_date=datetime(2026, 1, 1), max_active_runs=16) as careless:
        EmrSparkStepOperator(task_id="reads_an_hour", hour="{{ data_interval_start }}")
    assert policy(careless) != []


class PatientStepOperator(EmrSparkStepOperator):
    """Scarce by what it extends."""


def test_scarce_work_is_known_by_what_it_extends_mapped_or_not() -> None:
    with DAG(dag_id="careless", schedule=None) as careless:
        PatientStepOperator(task_id="once", hour="1")
        PatientStepOperator.partial(task_id="often").expand(hour=["1", "2"])
        PatientStepOperator(task_id="in_turn", hour="1", pool="emr")
        BaseOperator(task_id="light")
    assert policies.takes_scarce_work_from_a_pool(careless) == ["once", "often"]


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_no_dag_file_schedules_by_a_bare_cron(path: Path) -> None:
    assert policies.bare_crons(path) == []


def test_a_bare_cron_is_caught(tmp_path: Path) -> None:
    careless = tmp_path / "careless.py"
    careless.write_text('from airflow.sdk import DAG\nDAG(dag_id="x", schedule="0 * * * *")\n')
    assert policies.bare_crons(careless) == ["careless.py:2 schedule='0 * * * *'"]


# As Airflow's DAG processor does: a fork of a process that has imported Airflow reads each file.
_MEASURE = """
import os, runpy, sys, time, airflow.sdk, airflow.providers.standard.operators.hitl
before = set(sys.modules)
for path in sys.argv[1:]:
    if not os.fork():
        began = time.process_time()
        runpy.run_path(path)
        took = time.process_time() - began
        print("took", took, *{name.split(".")[0] for name in set(sys.modules) - before}, flush=True)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(path)
"""


def _imports_of(*paths: Path) -> list[tuple[float, set[str]]]:
    """Of each file: CPU seconds that it takes once Airflow is imported, and the heavy packages that it brings in."""
    environment = {"PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT / 'include'}", "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    command = [sys.executable, "-c", _MEASURE, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("took ")]
    return [(float(seconds), set(modules) & set(HEAVY)) for _, seconds, *modules in lines]


def test_parsing_stays_within_its_budget_and_imports_nothing_heavy() -> None:
    found = dict(zip((path.name for path in DAG_FILES), _imports_of(*DAG_FILES), strict=True))
    assert {name: heavy for name, (_, heavy) in found.items() if heavy} == {}
    assert {name: seconds for name, (seconds, _) in found.items() if seconds >= PARSE_SECONDS} == {}


def test_a_heavy_import_is_caught(tmp_path: Path) -> None:
    careless = tmp_path / "careless.py"
    careless.write_text("import redis")
    assert _imports_of(careless)[0][1] == {"redis"}
