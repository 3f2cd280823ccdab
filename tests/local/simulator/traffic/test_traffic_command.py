"""The traffic command as the stack runs it: its own process, the real router, a real broker and database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from moto.server import ThreadedMotoServer
from prometheus_client import start_http_server

from adrank.contracts.settings import Events
from adrank.contracts.timestamps import HOUR, as_utc
from ingestion.archiver.metrics import Metrics
from simulator.marketplace.settings import documented_world
from simulator.marketplace.world import World
from simulator.sinks.operational_database import HEARTBEAT, OperationalDatabase, ensure_schema
from simulator.traffic.__main__ import main
from tests.include.ingestion.logs import events, write
from tests.local.simulator.small_world import LIVE_START
from tests.support.kafka_broker import Broker
from tests.support.postgres_server import USER, PostgresServer

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[4]
TABLE = "experiments"
TOPIC = Events().topic


class FirstComeFirstRanked(BaseHTTPRequestHandler):
    """Answers ``InvokeEndpoint``: candidates in the order in which they came."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ranking = [{"ad_id": candidate["ad_id"], "score": 0.0} for candidate in request["candidates"]]
        body = json.dumps({"ranking": ranking, "model_version": "0123456789ab"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with the topic of the events."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    broker.create_topics(2, [TOPIC])
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """The marketplace's database as it is when live traffic begins."""
    world = World(documented_world(7, LIVE_START))
    with PostgresServer() as server:
        with server.connect() as connection, connection.cursor() as cursor:
            ensure_schema(cursor, "adrank")
        there = OperationalDatabase(
            f"host=127.0.0.1 port={server.port} user={USER} password={server.password} dbname=marketplace"
        )
        for table, _, changes in world.catalogue.envelopes(world.settings.start, LIVE_START):
            there.apply(table, changes)
        there.close()
        yield server


@pytest.fixture(scope="module")
def environment(broker: Broker, database: PostgresServer) -> Iterator[dict[str, str]]:
    """Environment of the traffic process: an empty experiments table, and an endpoint that ranks."""
    aws = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    aws.start()
    url = "http://{}:{}".format(*aws.get_host_and_port())
    endpoint = ThreadingHTTPServer(("127.0.0.1", 0), FirstComeFirstRanked)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "ADRANK_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_DYNAMODB": url,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{endpoint.server_port}",
        "ADRANK_EVENTS__BROKERS": broker.address,
        "ADRANK_EVENTS__CLIENT": json.dumps(broker.client),
        "ADRANK_EVENTS__HEARTBEAT_INTERVAL": "PT0S",
        "ADRANK_CDC__HOST": "127.0.0.1",
        "ADRANK_CDC__PORT": str(database.port),
        "PGUSER": USER,
        "PGPASSWORD": database.password,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(ROOT / "local")]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("dynamodb").create_table(
            TableName=TABLE,
            KeySchema=[
                {"AttributeName": "endpoint", "KeyType": "HASH"},
                {"AttributeName": "experiment_id", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "endpoint", "AttributeType": "S"},
                {"AttributeName": "experiment_id", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield {**os.environ, **settings}
    endpoint.shutdown()
    aws.stop()


def traffic(environment: dict[str, str], state: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "simulator.traffic", "--start", LIVE_START.isoformat(), "--state", str(state)]
    where = ["--endpoint", "production", "--experiments-table", TABLE]
    return subprocess.Popen([*command, *where, *arguments], env=environment, stderr=subprocess.PIPE)


def awaited(state: Path, process: subprocess.Popen[bytes], requests: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        document = json.loads(state.read_text()) if state.exists() else {"requests": 0}
        if document["requests"] >= requests:
            return dict(document)
        time.sleep(0.1)
    raise AssertionError(f"no {requests} requests: {process.stderr.read().decode() if process.stderr else ''}")


def messages(broker: Broker) -> list[dict[str, Any]]:
    """Everything in the topic."""
    settings = {"bootstrap.servers": broker.address, "group.id": "test", "enable.partition.eof": True, **broker.client}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(2)])
    found, ended = [], 0
    while ended < 2:
        message = consumer.poll(10)
        assert message is not None
        if message.error() is None:
            found.append(json.loads(message.value()))
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF
            ended += 1
    consumer.close()
    return found


def beaten(database: PostgresServer) -> datetime:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT beat_at FROM {HEARTBEAT}")
        ((moment,),) = cursor.fetchall()
        return as_utc(moment)


def test_traffic_runs_until_sigterm_and_tells_the_hour_that_it_was_in(
    environment: dict[str, str], broker: Broker, database: PostgresServer, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    process = traffic(environment, state, "--hours", "2", "--searches", "200", "--speed", "2000")
    awaited(state, process, 50)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    document = json.loads(state.read_text())
    assert document["state"] == "stopped"
    assert document["failed_requests"] == 0
    assert document["by_model_version"]["0123456789ab"]["requests"] == document["requests"] >= 50
    assert document["hours_told"] >= 1
    sent = messages(broker)
    beats = [message for message in sent if message["event_type"] == "heartbeat"]
    assert len(sent) - len(beats) == document["rows_told"] > 0
    assert len(beats) == 2 * document["hours_told"], "one on each partition"
    assert beaten(database) == LIVE_START + document["hours_told"] * HOUR


def test_traffic_is_held_until_the_archiver_says_how_far_it_is(
    environment: dict[str, str], broker: Broker, tmp_path: Path
) -> None:
    metrics = Metrics()
    server, _ = start_http_server(0, addr="127.0.0.1", registry=metrics.registry)
    state = tmp_path / "state.json"
    here = {**environment, "ADRANK_EVENTS__METRICS_PORT": str(server.server_port)}
    process = traffic(here, state, "--hours", "2", "--searches", "200", "--speed", "1e9", "--max-lag", "10")

    def clock() -> dict[str, Any]:
        return json.loads(state.read_text())["clock"] or {}

    while not (state.exists() and "does not know its lag" in clock().get("held", "")):
        assert process.poll() is None
        time.sleep(0.1)
    assert json.loads(state.read_text())["requests"] == 0
    metrics.watch_lag(0, lambda: 10)
    awaited(state, process, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert clock()["held_seconds"] > 0
    server.shutdown()


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_holds_everything_is_refused(
    limit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--start", LIVE_START.isoformat(), "--state", str(tmp_path / "state.json"), "--max-lag", limit])
    assert "is not a whole number, 1 or more" in capsys.readouterr().err


def test_traffic_replays_a_log_until_its_last_hour(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "events", events())
    state = tmp_path / "state.json"
    arguments = ["--searches-source", "replay", "--data", str(tmp_path), "--hours", "2", "--max-hours", "2"]
    process = traffic(environment, state, *arguments, "--searches", "40", "--speed", "1e9")
    assert process.wait(60) == 0
    document = json.loads(state.read_text())
    assert (document["state"], document["requests"], document["hours_told"]) == ("finished", 40, 2)
    assert document["source"] == f"replay of {tmp_path}"


def test_a_log_that_cannot_be_read_is_the_last_line_and_the_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.json"
    command = ["--start", LIVE_START.isoformat(), "--state", str(state), "--searches-source", "replay"]
    assert main([*command, "--data", str(tmp_path)]) == 1
    assert "holds no events file" in capsys.readouterr().err.splitlines()[-1]
    assert json.loads(state.read_text())["state"] == "failed"


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("2026-03-09T00:30:00+00:00", "is not a whole hour"),
        ("2026-03-09T00:00:00", "has no time zone"),
        ("monday", "Invalid isoformat string"),
    ],
)
def test_a_start_that_is_no_utc_hour_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str, reason: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--start", start, "--state", str(tmp_path / "state.json")])
    assert reason in capsys.readouterr().err
