"""What a task tells its program is checked against the program's declaration when the DAG is parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adrank.contracts.entry_points.command_line import UnknownArgumentError
from adrank.contracts.entry_points.features import PushFeatures
from adrank.contracts.entry_points.training import Evaluate
from adrank.contracts.settings import Settings
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator

DAG_FILE = """
from airflow.sdk import DAG

from adrank.contracts.entry_points.features import ComputeFeatures
from adrank.contracts.settings import load
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator

with DAG(dag_id="mapped", schedule=None, default_args={"settings": load()}):
    EmrSparkStepOperator.partial(
        task_id="compute", entry_point=ComputeFeatures, values={%(values)s}
    ).expand(hours=[{"start": "2026-03-01T00:00:00+00:00"}])
"""


@pytest.mark.parametrize("operator", [EmrSparkStepOperator, SparkSubmitStepOperator])
def test_a_step_is_told_its_values_and_what_settings_decide(settings: Settings, operator: Any) -> None:
    task = operator(
        task_id="a", settings=settings, entry_point=PushFeatures, values={"store": "redis", "hour": "{{ h }}"}
    )
    assert task.arguments[:4] == ["--store", "redis", "--hour", "{{ h }}"]
    assert {"--bucket", "--redis-host", "--redis-tls", "--table", "--region"} <= set(task.arguments)


@pytest.mark.parametrize("operator", [EmrSparkStepOperator, SparkSubmitStepOperator])
def test_a_step_that_is_told_what_its_program_does_not_take_is_refused(settings: Settings, operator: Any) -> None:
    with pytest.raises(UnknownArgumentError, match=r"push_features\.py has no stor;"):
        operator(task_id="a", settings=settings, entry_point=PushFeatures, values={"stor": "redis"})


def test_so_is_a_processing_job(settings: Settings) -> None:
    with pytest.raises(UnknownArgumentError, match=r"training\.evaluate has no digest;"):
        SageMakerProcessingJobOperator(
            task_id="a",
            settings=settings,
            job="evaluate",
            as_of="",
            entry_point=Evaluate,
            values={"digest": "d"},
            inputs={},
            outputs={},
        )


@pytest.mark.parametrize(
    ("values", "errors"),
    [('"recompute": "true"', []), ('"recompte": "true"', ["compute_features.py has no recompte;"])],
)
def test_a_mapped_task_is_checked_when_the_dag_is_parsed_too(tmp_path: Path, values: str, errors: list[str]) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "mapped.py").write_text(DAG_FILE % {"values": values})
    bag = DagBag(str(tmp_path))
    assert len(bag.import_errors) == len(errors)
    assert all(error in message for error, message in zip(errors, bag.import_errors.values(), strict=True))
