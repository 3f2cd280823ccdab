"""An in-process AWS account (moto) for operators and hooks; the executing one is exercised by the e2e tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from adrank.contracts.settings import Settings
from adrank_airflow.hooks.lake import LakeHook
from tests.plugins.fake_aws import REGION


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    with mock_aws():
        yield


@pytest.fixture
def lake(aws: None, settings: Settings) -> Any:
    client = boto3.client("s3", region_name=REGION)
    client.create_bucket(Bucket=settings.lake.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


@pytest.fixture
def hook(lake: Any, settings: Settings) -> LakeHook:
    return LakeHook(settings.lake.bucket, lake)


@pytest.fixture
def cluster(aws: None, settings: Settings) -> str:
    client = boto3.client("emr", region_name=REGION)
    return client.run_job_flow(
        Name=settings.emr.cluster_name,
        Instances={"InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True},
        JobFlowRole="EMR_EC2_DefaultRole",
        ServiceRole="EMR_DefaultRole",
        LogUri=f"s3://{settings.lake.bucket}/logs/emr/",
    )["JobFlowId"]


@pytest.fixture
def context() -> dict[str, Any]:
    run = SimpleNamespace(start_date=datetime(2026, 3, 1, 12, tzinfo=UTC))
    return {"run_id": "manual__1", "dag_run": run}
