"""Users are routed by one experiment at a time, and it can always be ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from adrank.contracts import lake as layout
from adrank.contracts import timestamps
from adrank.contracts.manifests import RawManifest
from adrank.contracts.settings import Settings
from adrank_airflow.errors import NoInputError, StagingInUseError
from adrank_airflow.hooks.experiments import ExperimentsHook
from adrank_airflow.operators.release.experiment_routing import StartRoutingOperator, StopRoutingOperator
from tests.plugins.fake_aws import REGION

HOUR = datetime(2026, 3, 8, 5, tzinfo=UTC)


@pytest.fixture
def table(lake: Any, settings: Settings) -> ExperimentsHook:
    boto3.client("dynamodb", region_name=REGION).create_table(
        TableName=settings.online.experiments_table,
        KeySchema=[
            {"AttributeName": "endpoint", "KeyType": "HASH"},
            {"AttributeName": "experiment_id", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("endpoint", "experiment_id")],
        BillingMode="PAY_PER_REQUEST",
    )
    return ExperimentsHook(settings.online.experiments_table, "aws_default", REGION)


@pytest.fixture
def closed_hour(lake: Any, settings: Settings) -> None:
    manifest = RawManifest(hour=HOUR, revision_time=HOUR, watermark=HOUR + timestamps.HOUR, rows=0)
    lake.put_object(
        Bucket=settings.lake.bucket, Key=layout.RAW_EVENTS.manifest(HOUR), Body=manifest.model_dump_json().encode()
    )


def start(settings: Settings, experiment: str = "ab-run") -> StartRoutingOperator:
    return StartRoutingOperator(task_id="start", settings=settings, experiment=experiment, package_digest="d")


def stop(settings: Settings, experiment: str = "ab-run") -> StopRoutingOperator:
    return StopRoutingOperator(task_id="stop", settings=settings, experiment=experiment)


def test_the_experiment_starts_on_the_logs_clock_after_every_router_can_know_it(
    table: ExperimentsHook, closed_hour: None, settings: Settings, context: Any
) -> None:
    started = start(settings).execute(context)
    assert set(started) == set(StartRoutingOperator.returns)
    assert started == {"experiment_id": "ab-run-1", "start": "2026-03-08T08:00:00+00:00"}
    (item,) = table.of_endpoint(settings.sagemaker.production_endpoint)
    assert (item.treatment_share, item.status, item.package_digest) == (0.05, "running", "d")


def test_a_retry_finds_its_own_experiment(
    table: ExperimentsHook, closed_hour: None, settings: Settings, context: Any
) -> None:
    assert start(settings).execute(context) == start(settings).execute(context)
    assert len(table.of_endpoint(settings.sagemaker.production_endpoint)) == 1


def test_a_cleared_run_begins_a_new_experiment_with_a_new_salt(
    table: ExperimentsHook, closed_hour: None, settings: Settings, context: Any
) -> None:
    start(settings).execute(context)
    stop(settings).execute(context)
    assert start(settings).execute(context)["experiment_id"] == "ab-run-2"
    assert len({e.salt for e in table.of_endpoint(settings.sagemaker.production_endpoint)}) == 2


def test_another_runs_experiment_is_not_disturbed(
    table: ExperimentsHook, closed_hour: None, settings: Settings, context: Any
) -> None:
    start(settings, "ab-other").execute(context)
    with pytest.raises(StagingInUseError, match="ab-other-1"):
        start(settings).execute(context)
    assert stop(settings).execute(context) == []
    assert [e.status for e in table.of_endpoint(settings.sagemaker.production_endpoint)] == ["running"]


def test_stopping_twice_or_without_an_experiment_is_fine(
    table: ExperimentsHook, closed_hour: None, settings: Settings, context: Any
) -> None:
    assert stop(settings).execute(context) == []
    start(settings).execute(context)
    assert stop(settings).execute(context) == ["ab-run-1"]
    assert stop(settings).execute(context) == []


def test_without_a_closed_hour_there_is_no_clock_to_start_on(
    table: ExperimentsHook, settings: Settings, context: Any
) -> None:
    with pytest.raises(NoInputError, match="no closed hour"):
        start(settings).execute(context)
