"""The validation gets its run and bounds, and its task leads to what that run found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from adrank.contracts import lake
from adrank.contracts.settings import Lake, Settings
from adrank_airflow.operators.features.validation import (
    DataDocsLink,
    SubmitValidationOperator,
    ValidateFeaturesOperator,
)
from tests.plugins.adrank_airflow.operators.features.links import RUN, link


def rendered(settings: Settings, **more: Any) -> ValidateFeaturesOperator:
    """As the scheduler's context renders it."""
    with DAG(dag_id="ranking_features_hourly", schedule=None) as dag:
        task = ValidateFeaturesOperator(
            task_id="validate", settings=settings, start="{{ start }}", end="2026-03-01T13:00:00+00:00", **more
        )
    task.render_template_fields({"dag": dag, "task": task, "run_id": RUN, "start": "2026-03-01T11:00:00+00:00"})
    return task


def test_the_step_is_told_its_hours_its_run_and_its_bounds(settings: Settings) -> None:
    command = rendered(settings).command()
    assert "s3://adrank-lake/code/current/spark/validate_features.py" in command
    assert command[command.index("--start") :] == [
        *("--start", "2026-03-01T11:00:00+00:00", "--end", "2026-03-01T13:00:00+00:00"),
        *("--run", RUN, "--row-ratio", "0.5", "2", "--min-rows-compared", "1000", "--bucket", "adrank-lake"),
    ]


def test_the_task_links_to_the_data_docs_of_its_own_run(settings: Settings) -> None:
    assert link(rendered(settings)) == (
        "https://adrank-lake.s3.eu-west-1.amazonaws.com/validation/dt=2026-03-01/hr=12/runs/"
        "scheduled__2026-03-01T13~3A00~3A00~2B00~3A00/docs/index.html"
    )


def test_with_spark_submit_it_is_the_same_validation_with_the_same_link(settings: Settings) -> None:
    submitted = SubmitValidationOperator(
        task_id="validate", settings=settings, start="2026-03-01T11:00:00+00:00", end="{{ end }}"
    )
    context = {"dag": SimpleNamespace(dag_id="d"), "task": submitted, "run_id": RUN}
    submitted.render_template_fields({**context, "end": "2026-03-01T13:00:00+00:00"})
    step = rendered(settings)
    assert submitted.arguments == step.command()[-len(submitted.arguments) :]
    assert submitted.application == next(word for word in step.command() if word.endswith(".py"))
    assert link(submitted) == link(step) != ""


def test_where_people_read_the_lake_is_a_setting() -> None:
    settings = Settings(lake=Lake(browse_url="http://lake.internal/{bucket}/{key}?in={region}"))
    assert link(rendered(settings)).startswith("http://lake.internal/adrank-lake/validation/")
    assert link(rendered(settings)).endswith("index.html?in=eu-west-1")


@pytest.mark.parametrize("wrong", ["http://lake.internal/{bucket}", "{key}{secret}", "{key}{"])
def test_an_address_that_cannot_lead_to_a_key_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Lake(browse_url=wrong)


def test_the_link_survives_in_the_serialized_dag(settings: Settings) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    (task,) = DagSerialization.to_dict(rendered(settings).dag)["dag"]["tasks"]
    serialized = task["__var"]["_operator_extra_links"]
    assert serialized.items() >= {"Data Docs": DataDocsLink().xcom_key}.items()
    assert serialized.keys() == {"Data Docs", "EMR Cluster", "EMR Cluster Logs"}


def test_runs_of_other_names_are_kept_apart() -> None:
    assert lake.segment("a:b") != lake.segment("a~3Ab")
    assert lake.segment("a/../b").count("/") == 0
