"""Keys are waited for until all are there; what is missing at the deadline is named."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adrank_airflow.triggers.lake_keys import LakeKeysTrigger
from tests.plugins.fake_aws import FakeAws

FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
PAST = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def absent(status: int = 404) -> ClientError:
    answer = {"Error": {"Code": str(status), "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "HeadObject")  # type: ignore[arg-type]


def events(aws: FakeAws, deadline: str = FUTURE) -> list[Any]:
    made = LakeKeysTrigger(
        "lake",
        ["a", "b"],
        deadline=deadline,
        poll_seconds=0,
        min_defer_seconds=0,
        aws_conn_id="aws_default",
        region_name="eu-west-1",
    )

    async def client() -> FakeAws:
        return aws

    made.client = client  # type: ignore[method-assign]

    async def collect() -> list[Any]:
        return [event.payload async for event in made.run()]

    return asyncio.run(collect())


def test_it_fires_when_the_last_key_is_there_and_asks_for_none_twice_that_was() -> None:
    aws = FakeAws([{}, absent(), absent(), {}])
    assert events(aws) == [{"status": "ready"}]
    assert [arguments["Key"] for _, arguments in aws.calls] == ["a", "b", "b", "b"]


def test_at_the_deadline_it_names_what_is_missing() -> None:
    assert events(FakeAws([{}, absent()]), PAST) == [{"status": "deadline", "missing": ["b"]}]


@pytest.mark.parametrize("status", [403, 503])
def test_an_error_is_not_taken_for_a_missing_key(status: int) -> None:
    aws = FakeAws([absent(status), {}, {}])
    assert events(aws) == [{"status": "ready"}]
