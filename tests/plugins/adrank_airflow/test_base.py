"""A task of ours takes its settings from the DAG, joins with any kind of operator, and waits within its limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from airflow.sdk import DAG, BaseBranchOperator, BaseSensorOperator

from adrank.contracts.entry_points.features import ComputeFeatures
from adrank.contracts.settings import Emr, Rollout, SageMaker, Settings
from adrank_airflow.base import AdrankTask
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator
from adrank_airflow.sensors.lake import LakeKeysSensor
from adrank_airflow.triggers.aws_resource import ResourceKind
from tests.plugins.deferral import deferral

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings(
    emr=Emr(step_timeout=timedelta(hours=1), poll_seconds=11),
    sagemaker=SageMaker(job_timeout=timedelta(hours=2), poll_seconds=12),
    rollout=Rollout(timeout=timedelta(hours=3)),
)
LIMITS = {
    "emr_step": (timedelta(hours=1), 11),
    "processing": (timedelta(hours=2), 12),
    "training": (timedelta(hours=2), 12),
    "endpoint": (timedelta(hours=3), 12),
}


def test_settings_come_from_the_dag_with_or_without_a_constructor_of_ones_own(settings: Settings) -> None:
    class Plain(AdrankTask):
        """Has no constructor."""

    class Own(AdrankTask):
        """Has one."""

        def __init__(self, *, day: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.day = day

    with DAG(dag_id="d", schedule=None, default_args={"settings": settings}):
        assert Plain(task_id="plain").settings is settings
        assert Own(task_id="own", day="x").settings is settings
    with pytest.raises(TypeError, match="settings"):
        Plain(task_id="alone")


def test_hooks_are_made_once_from_the_settings(aws: None) -> None:
    task = AdrankTask(task_id="a", settings=SETTINGS)
    assert task.lake is task.lake
    assert (task.lake.bucket, task.endpoints.region_name) == (SETTINGS.lake.bucket, SETTINGS.region)
    assert task.experiments.table == SETTINGS.online.experiments_table
    assert task.model_registry.model == SETTINGS.training.registered_model
    assert {hook.aws_conn_id for hook in (task.emr_steps, task.endpoints, task.sagemaker_jobs)} == {
        SETTINGS.airflow.aws_conn_id
    }


def test_every_kind_of_work_has_its_limits(settings: Settings) -> None:
    assert LIMITS.keys() == set(get_args(ResourceKind))


@pytest.mark.parametrize("kind", LIMITS)
def test_work_is_waited_for_within_its_kinds_limits_from_when_it_began(kind: Any) -> None:
    task = AdrankTask(task_id="a", settings=SETTINGS)
    waiting = deferral(task.defer_until_job, kind, {"Name": "n"}, BEGAN, method_name="judge", look=1)
    trigger: Any = waiting.trigger
    timeout, poll_seconds = LIMITS[kind]
    assert (trigger.kind, trigger.reference, trigger.result) == (kind, {"Name": "n"}, None)
    assert (trigger.deadline, trigger.poll_seconds) == ((BEGAN + timeout).isoformat(), poll_seconds)
    assert trigger.min_defer_seconds == SETTINGS.airflow.min_defer_seconds
    assert (waiting.method_name, waiting.kwargs) == ("judge", {"look": 1})


def test_keys_are_waited_for_in_the_lake_unless_another_bucket_is_named() -> None:
    task = AdrankTask(task_id="a", settings=SETTINGS)
    lake: Any = deferral(task.defer_until_keys, ["k"], BEGAN).trigger
    assert (lake.bucket, lake.keys, lake.deadline, lake.poll_seconds) == (
        SETTINGS.lake.bucket,
        ["k"],
        BEGAN.isoformat(),
        11,
    )
    logs: Any = deferral(task.defer_until_keys, ["k"], BEGAN, bucket="logs", poll_seconds=5).trigger
    assert (logs.bucket, logs.poll_seconds) == ("logs", 5)


class Branches(AdrankTask, BaseBranchOperator):
    """A branch of ours."""

    def choose_branch(self, context: Any) -> str:
        return self.settings.region


class Waits(LakeKeysSensor):
    """A sensor of ours."""

    def keys(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("joined", "base", "arguments"),
    [(Branches, BaseBranchOperator, {}), (Waits, BaseSensorOperator, {"at": BEGAN.isoformat()})],
    ids=["branch", "sensor"],
)
def test_it_joins_with(joined: Any, base: type, arguments: dict[str, str], settings: Settings) -> None:
    task = joined(task_id="a", settings=settings, **arguments)
    assert isinstance(task, base)
    assert task.settings is settings


def test_it_joins_with_the_spark_providers_operator(settings: Settings) -> None:
    task = SparkSubmitStepOperator(task_id="a", settings=settings, entry_point=ComputeFeatures, values={})
    assert isinstance(task, AdrankTask)
    assert task.application.endswith("/spark/compute_features.py")
