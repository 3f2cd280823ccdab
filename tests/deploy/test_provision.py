"""What is declared is made once, and nothing that is there is made again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from moto import mock_aws

from adrank.contracts.settings import Settings
from deploy import resources
from deploy.provision import provision
from deploy.resources import UnknownAlarmError

CLIENT = partial(boto3.client, region_name="eu-west-1")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield


def made() -> dict[str, Any]:
    return {
        "buckets": [bucket["Name"] for bucket in CLIENT("s3").list_buckets()["Buckets"]],
        "tables": CLIENT("dynamodb").list_tables()["TableNames"],
        "clusters": [cluster["Id"] for cluster in CLIENT("emr").list_clusters()["Clusters"]],
        "alarms": [alarm["AlarmName"] for alarm in CLIENT("cloudwatch").describe_alarms()["MetricAlarms"]],
    }


@pytest.mark.parametrize(("region", "told"), [("us-east-1", False), ("eu-west-1", True)])
def test_a_bucket_names_its_region_where_s3_takes_it(region: str, told: bool) -> None:
    assert ("CreateBucketConfiguration" in resources.bucket(Settings(region=region))) is told


def test_a_second_time_changes_nothing(account: None) -> None:
    settings = Settings()
    provision(CLIENT, settings, resources.alarms(settings))
    first = made()
    assert {kind: len(names) for kind, names in first.items()} == {
        "buckets": 1,
        "tables": 2,
        "clusters": 1,
        "alarms": 2,
    }
    provision(CLIENT, settings, resources.alarms(settings))
    assert made() == first


def test_another_kind_of_failure_is_not_taken_for_there_already(account: None) -> None:
    settings = Settings()
    broken = settings.model_copy(update={"lake": settings.lake.model_copy(update={"bucket": "No Bucket"})})
    with pytest.raises(Exception, match="Invalid bucket name"):
        provision(CLIENT, broken, ())


def test_an_alarm_that_nobody_defined_is_refused() -> None:
    settings = Settings()
    rollout = settings.rollout.model_copy(update={"alarms": ("adrank-production-5xx", "adrank-mood")})
    with pytest.raises(UnknownAlarmError, match="adrank-mood"):
        resources.alarms(settings.model_copy(update={"rollout": rollout}))


def test_a_shift_is_guarded_by_minutes_unless_somebody_publishes_more_often() -> None:
    periods = [{alarm["Period"] for alarm in resources.alarms(Settings(), *more)} for more in ((), (10,))]
    assert periods == [{60}, {10}]
