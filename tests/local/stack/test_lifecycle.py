"""One real stack: all comes up healthy and provisioned, a second start changes nothing, a stop leaves nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from adrank.contracts import metrics
from adrank.contracts.settings import Cdc, Events
from deploy.resources import POOLS
from stack import credentials, lifecycle
from stack.airflow_client import AirflowClient
from stack.environment import aws_client, url
from stack.health import checks
from stack.settings import HOST, StackSettings
from stack.supervisor import orphans

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]


@pytest.fixture
def discarded(stack: StackSettings) -> Iterator[StackSettings]:
    yield stack
    lifecycle.stop(stack)
    lifecycle.discard(stack)


def test_a_stack_comes_up_provisioned_and_goes_without_a_trace(discarded: StackSettings) -> None:
    stack = discarded
    with lifecycle.running(stack):
        assert set(lifecycle.status(stack).values()) == {"RUNNING"}
        assert {name for name, healthy in checks(stack).items() if not healthy()} == set()
        _is_provisioned(stack)
        _listens_on_loopback_only(stack)
        lines: list[str] = []
        lifecycle.start(stack, lines.append)
        assert not any("stopping" in line for line in lines), "a second start must not restart anything"
    assert lifecycle.status(stack) == {}
    assert orphans.find(stack) == []
    for port in stack.ports.numbers().values():
        with pytest.raises(ConnectionRefusedError), contextlib.closing(socket.create_connection((HOST, port))):
            pass


def _is_provisioned(stack: StackSettings) -> None:
    airflow = AirflowClient(stack)
    pools = {pool["name"]: pool["slots"] for pool in airflow.request("GET", "/pools")["pools"]}
    assert POOLS.items() <= pools.items()
    tables = aws_client(stack, "dynamodb").list_tables()["TableNames"]
    assert set(tables) == {"adrank-experiments", "adrank-features"}
    clusters = aws_client(stack, "emr").list_clusters()["Clusters"]
    assert [cluster["Name"] for cluster in clusters] == ["adrank-features"]
    alarms = aws_client(stack, "cloudwatch").describe_alarms()["MetricAlarms"]
    assert {alarm["AlarmName"] for alarm in alarms} == {"adrank-production-5xx", "adrank-production-latency"}
    scraped = urllib.request.urlopen(f"{url(stack, 'billing')}/metrics").read().decode()
    assert f"{metrics.BILLING_QUARANTINED_DAYS} 0.0" in scraped
    keys = aws_client(stack, "s3").list_objects_v2(Bucket="adrank-lake", Prefix="code/current/")["Contents"]
    assert "code/current/adrank.zip" in {key["Key"] for key in keys}
    address = {"bootstrap.servers": f"{HOST}:{stack.ports.kafka}", "broker.address.family": "v4"}
    topics = AdminClient(address).list_topics(timeout=10).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {
        Events().topic: 3,
        Events().dead_letter_topic: 1,
    }
    secret = json.loads(aws_client(stack, "secretsmanager").get_secret_value(SecretId=Cdc().secret_id)["SecretString"])
    assert secret == {"username": "adrank_capture", "password": credentials.capture_password(stack)}


def _listens_on_loopback_only(stack: StackSettings) -> None:
    ours = {process.pid for process in orphans.find(stack)}
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert {c.laddr.port for c in listening} >= set(stack.ports.numbers().values())
    assert {c.laddr.ip for c in listening} == {HOST}
