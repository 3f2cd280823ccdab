"""What must hold of the hourly graph: one step does the work, and every part of it is seen and can fail the run."""

from __future__ import annotations

from typing import Any

import pytest

from adrank.contracts import registry
from adrank_airflow.operators.features.hourly_features import FeaturePartOperator
from tests.dags.graphs import can_run, graph

GROUPS = {f"compute.{group.name}" for group in registry.load().groups}
PARTS = GROUPS | {"validate", "push.redis", "push.dynamodb", "audit"}


@pytest.fixture(scope="session")
def hourly(dags: dict[str, Any]) -> Any:
    return dags["ranking_features_hourly"]


def test_the_hour_is_computed_once_its_raw_hour_is_closed(hourly: Any) -> None:
    assert graph(hourly)["run_features"] == ("all_success", {"wait_for_raw_hour"})
    assert "run_features" not in can_run(graph(hourly), never={"wait_for_raw_hour"})


def test_every_part_of_the_step_is_a_task_of_its_name_and_there_are_no_others(hourly: Any) -> None:
    assert {task.task_id for task in hourly.tasks if isinstance(task, FeaturePartOperator)} == PARTS
    assert set(hourly.task_dict) == PARTS | {"wait_for_raw_hour", "run_features"}


def test_a_part_is_shown_whatever_became_of_the_step_and_fails_the_run_if_red(hourly: Any) -> None:
    for part in PARTS:
        assert graph(hourly)[part] == ("all_done", {"run_features"})
        assert not hourly.get_task(part).downstream_task_ids, "a leaf: its state is the run's"
    assert hourly.get_task("run_features").downstream_task_ids == PARTS, "else a failed step could end a run green"


def test_the_step_knows_stores_bounds_and_sample(hourly: Any) -> None:
    arguments = set(hourly.get_task("run_features").arguments)
    assert {
        "--hour",
        "--late-lookback-hours",
        "--row-ratio",
        "--redis-host",
        "--table",
        "--sample",
        "--max-skew",
    } <= arguments
