"""DynamoDB: its own rules hold, items survive a kill, writes can be throttled."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.localcloud.cloud import Cloud
from tests.support.child_process import eventually

pytestmark = pytest.mark.stack


def create_table(dynamodb: Any, name: str) -> str:
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    eventually(lambda: dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE")
    return name


def put(dynamodb: Any, table: str, entity: str, as_of: int = 1, **condition: Any) -> None:
    dynamodb.put_item(TableName=table, Item={"entity_id": {"S": entity}, "as_of": {"N": str(as_of)}}, **condition)


def test_rules_of_dynamodb_hold(cloud: Cloud) -> None:
    dynamodb = cloud.dynamodb
    with pytest.raises(ClientError, match="ValidationException"):
        create_table(dynamodb, "x")
    table = create_table(dynamodb, "rules")
    put(dynamodb, table, "ad#1", as_of=2)
    newer = {
        "ConditionExpression": "attribute_not_exists(as_of) OR as_of < :n",
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        put(dynamodb, table, "ad#1", as_of=1, **newer)


def test_writes_are_throttled_while_the_switch_is_on_and_reads_are_not(cloud: Cloud) -> None:
    dynamodb = cloud.dynamodb
    table = create_table(dynamodb, "throttled")
    put(dynamodb, table, "ad#1")

    cloud.call("POST", "/faults/throttle_dynamodb", {"fraction": 1, "seconds": 30})

    with pytest.raises(ClientError, match="ProvisionedThroughputExceededException"):
        put(dynamodb, table, "ad#2")
    assert "Item" in dynamodb.get_item(TableName=table, Key={"entity_id": {"S": "ad#1"}})
    cloud.call("DELETE", "/faults")
    put(dynamodb, table, "ad#2")


def test_items_survive_a_kill(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    try:
        cloud.start("dynamodb")
        table = create_table(cloud.dynamodb, "durable")
        put(cloud.dynamodb, table, "ad#1", as_of=7)
        cloud.stop("dynamodb", number=signal.SIGKILL)
        cloud.start("dynamodb")

        got = cloud.dynamodb.get_item(TableName=table, Key={"entity_id": {"S": "ad#1"}})
        assert got["Item"]["as_of"] == {"N": "7"}
    finally:
        cloud.stop()
