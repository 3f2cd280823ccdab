"""A real redis-server and a DynamoDB table for the tests of the online path, and rows to put into them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from adrank.contracts import registry
from adrank.contracts.online_layout import dynamodb_key, pack, redis_key
from tests.support.ports import free_port

TABLE = "features-under-test"
REGION = "eu-west-1"
AS_OF = datetime(2026, 3, 2, 12, tzinfo=UTC)


class RedisServer:
    """A redis-server on a free loopback port, that a test may stop and start again."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is a system part that set-up installs"
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + 10
        client = Redis(port=self.port)
        while True:
            try:
                client.ping()
            except RedisConnectionError:
                assert time.monotonic() < give_up, "redis-server did not come up"
                time.sleep(0.01)
            else:
                client.close()
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class OnlineRows:
    """Puts rows where the push would."""

    def __init__(self, redis: Any, dynamodb: Any) -> None:
        self._redis = redis
        self._dynamodb = dynamodb

    def put(self, group_name: str, entity_id: str, values: Sequence[float], as_of: datetime = AS_OF) -> None:
        """A row with these values of the group's first features; the others are 0."""
        group = registry.load().group(group_name)
        rest = [0.0] * (len(group.features) - len(values))
        self.put_packed(group_name, entity_id, pack(group, as_of, [*values, *rest]))

    def put_packed(self, group_name: str, entity_id: str, packed: bytes) -> None:
        group = registry.load().group(group_name)
        if group.store == "redis":
            self._redis.set(redis_key(group, entity_id), packed)
        else:
            self._dynamodb.put_item(
                TableName=TABLE,
                Item={"entity_id": {"S": dynamodb_key(group, entity_id)}, "packed": {"B": packed}},
            )


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """An empty redis-server. A test that stops it starts its own."""
    client = Redis(port=shared_redis.port)
    client.flushall()
    client.close()
    return shared_redis


@pytest.fixture(scope="module")
def account() -> Iterator[Any]:
    """A DynamoDB client of an account that holds the features table."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        client = boto3.client("dynamodb", region_name=REGION)
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def dynamodb(account: Any) -> Any:
    """The account's client, the table emptied."""
    for item in account.scan(TableName=TABLE)["Items"]:
        account.delete_item(TableName=TABLE, Key={"entity_id": item["entity_id"]})
    return account


@pytest.fixture
def rows(redis_server: RedisServer, dynamodb: Any) -> Iterator[OnlineRows]:
    client = Redis(port=redis_server.port)
    yield OnlineRows(client, dynamodb)
    client.close()
