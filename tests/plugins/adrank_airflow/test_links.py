"""From a task to the consoles: what a task leaves is what the provider's links are made from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.links import base_aws

from adrank.contracts.entry_points.features import ComputeFeatures
from adrank.contracts.settings import Settings
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerTrainingJobOperator
from tests.plugins.deferral import deferral


class Kept:
    """The XComs of one task instance."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value

    def get_value(self, *, key: str, ti_key: Any) -> Any:
        return self.values.get(key)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    made = Kept()
    monkeypatch.setattr(base_aws, "XCom", made)
    return made


def addresses(task: Any, context: Any, kept: Kept) -> dict[str, str]:
    """Where the links lead once the task waits, which is when Airflow stores them."""
    deferred = deferral(task.execute, {**context, "ti": kept})
    found = {link.name: link.get_link(task, ti_key=SimpleNamespace()) for link in task.operator_extra_links}
    return {**found, **deferred.kwargs}


def test_a_step_leads_to_its_cluster_and_logs(cluster: str, settings: Settings, context: Any, kept: Kept) -> None:
    task = EmrSparkStepOperator(task_id="a", settings=settings, entry_point=ComputeFeatures, values={}, step_name="s")
    found = addresses(task, context, kept)
    console = "https://console.aws.amazon.com"
    assert found["EMR Cluster"] == f"{console}/emr/home?region=eu-west-1#/clusterDetails/{cluster}"
    assert found["EMR Cluster Logs"].startswith(f"{console}/s3/buckets/{settings.lake.bucket}/logs/emr")
    assert found["EMR Cluster Logs"].endswith(f"&prefix={cluster}/")


def test_a_job_leads_to_its_page_and_its_containers_logs(
    aws: None, settings: Settings, context: Any, kept: Kept
) -> None:
    task = SageMakerTrainingJobOperator(
        task_id="train",
        settings=settings,
        job="train",
        as_of="2026-03-08T00:00:00+00:00",
        hyperparameters={},
        training_set="training/x/set/",
        output_prefix="training/x/model/",
    )
    found = addresses(task, context, kept)
    name = found["name"]
    assert found["SageMaker Job"] == (f"https://console.aws.amazon.com/sagemaker/home?region=eu-west-1#/jobs/{name}")
    assert found["CloudWatch Logs"].endswith(
        f"log-group/$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3D{name}"
    )


def test_a_task_that_submitted_nothing_leads_nowhere(settings: Settings, kept: Kept) -> None:
    task = EmrSparkStepOperator(task_id="a", settings=settings, entry_point=ComputeFeatures, values={})
    assert [link.get_link(task, ti_key=SimpleNamespace()) for link in task.operator_extra_links] == ["", ""]  # type: ignore[attr-defined]
