"""The trigger waits for real ends, looks past AWS errors, and gives up at an absolute deadline."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent
from botocore.exceptions import ClientError

from adrank_airflow.triggers.aws_resource import AwsResourceTrigger, ResourceKind
from tests.plugins.fake_aws import FakeAws

FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
PAST = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def step(state: str) -> dict[str, Any]:
    return {"Step": {"Status": {"State": state}}}


def trigger(
    aws: FakeAws, kind: ResourceKind = "emr_step", deadline: str = FUTURE, result: dict[str, str] | None = None
) -> AwsResourceTrigger:
    made = AwsResourceTrigger(
        kind,
        {"ClusterId": "j-1", "StepId": "s-1"},
        result,
        deadline=deadline,
        poll_seconds=0,
        min_defer_seconds=0,
        aws_conn_id="aws_default",
        region_name="eu-west-1",
    )

    async def client() -> FakeAws:
        return aws

    made.client = client  # type: ignore[method-assign]
    return made


def events(made: AwsResourceTrigger) -> list[Any]:
    async def collect() -> list[Any]:
        return [event.payload async for event in made.run()]

    return asyncio.run(collect())


def test_it_fires_once_the_step_has_ended() -> None:
    aws = FakeAws([step("PENDING"), step("RUNNING"), step("COMPLETED")])
    assert events(trigger(aws)) == [{"status": "COMPLETED"}]
    assert len(aws.calls) == 3


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("processing", {"ProcessingJobStatus": "Failed"}),
        ("training", {"TrainingJobStatus": "Stopped"}),
        ("endpoint", {"EndpointStatus": "InService"}),
    ],
)
def test_it_knows_how_every_kind_of_work_ends(kind: ResourceKind, answer: dict[str, str]) -> None:
    assert events(trigger(FakeAws([answer]), kind)) == [{"status": next(iter(answer.values()))}]


def test_a_task_with_nothing_left_to_do_ends_with_its_work() -> None:
    async def fired(state: str) -> list[TriggerEvent]:
        made = trigger(FakeAws([step(state)]), result={"step_id": "s-1"})
        return [event async for event in made.run()]

    (success,) = asyncio.run(fired("COMPLETED"))
    assert isinstance(success, TaskSuccessEvent)
    assert success.xcoms == {"return_value": {"step_id": "s-1"}}
    (failure,) = asyncio.run(fired("FAILED"))
    assert failure.payload == {"status": "FAILED"}
    assert not isinstance(failure, TaskSuccessEvent)


def test_an_updating_endpoint_has_not_ended() -> None:
    aws = FakeAws([{"EndpointStatus": "Updating"}, {"EndpointStatus": "InService"}])
    assert events(trigger(aws, "endpoint")) == [{"status": "InService"}]


def test_an_aws_error_is_looked_past() -> None:
    throttled = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "DescribeStep")
    assert events(trigger(FakeAws([throttled, step("COMPLETED")]))) == [{"status": "COMPLETED"}]


def test_past_the_deadline_it_gives_up_after_one_last_look() -> None:
    assert events(trigger(FakeAws([step("RUNNING")]), deadline=PAST)) == [{"status": "deadline"}]
    assert events(trigger(FakeAws([step("COMPLETED")]), deadline=PAST)) == [{"status": "COMPLETED"}]


def test_killing_the_waiting_task_cancels_the_work() -> None:
    aws = FakeAws([])
    asyncio.run(trigger(aws).on_kill())
    ((operation, arguments),) = aws.calls
    assert operation == "cancel_steps"
    assert arguments["StepIds"] == ["s-1"]


def test_an_endpoint_outlives_the_task_that_waits_for_it() -> None:
    aws = FakeAws([])
    asyncio.run(trigger(aws, "endpoint").on_kill())
    assert aws.calls == []


def test_it_survives_the_way_to_another_triggerer() -> None:
    path, arguments = trigger(FakeAws([])).serialize()
    assert path == "adrank_airflow.triggers.aws_resource.AwsResourceTrigger"
    assert AwsResourceTrigger(**arguments).serialize() == (path, arguments)
