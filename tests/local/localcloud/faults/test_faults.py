"""The fault switches and their command line."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from localcloud.faults import __main__ as faults_command
from localcloud.faults import control
from localcloud.faults.armed import Faults, Next, Refuse
from tests.local.localcloud.cloud import Cloud
from tests.support.child_process import eventually
from tests.support.ports import free_port


def test_counted_faults_befall_matching_names_and_run_out(tmp_path: Path) -> None:
    armed = Faults(tmp_path / "faults.json")
    armed.arm("fail_next_steps", Next(count=2, match="push"))

    assert armed.take("steps", "compute") is None
    assert armed.take("jobs", "push") is None
    assert [armed.take("steps", "push_features") for _ in range(3)] == ["fail", "fail", None]
    assert armed.active() == {}


def test_timed_faults_end_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    armed = Faults(tmp_path / "faults.json")
    armed.arm("refuse_s3_writes", Refuse(seconds=30))
    assert 29 < armed.active()["refuse_s3_writes"]["remaining_seconds"] <= 30

    later = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: later)
    assert armed.active() == {}


@pytest.mark.stack
def test_the_command_line_arms_shows_and_clears(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = ["--gateway", cloud.config.gateway_url]
    assert faults_command.main([*gateway, "fail-steps", "3", "--match", "push"]) == 0
    assert faults_command.main([*gateway, "throttle-dynamodb", "0.5", "30"]) == 0
    shown = cloud.call("GET", "/faults")
    assert shown["fail_next_steps"] == {"count": 3, "match": "push"}
    assert shown["throttle_dynamodb"]["fraction"] == 0.5
    assert faults_command.main([*gateway, "clear"]) == 0
    assert cloud.call("GET", "/faults") == {"tripped_alarms": []}

    capsys.readouterr()
    assert faults_command.main([*gateway, "trip-alarm", "no-such-alarm"]) == 1
    assert "no alarm 'no-such-alarm'" in capsys.readouterr().err
    assert faults_command.main(["--gateway", f"http://127.0.0.1:{free_port()}", "show"]) == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.stack
def test_unknown_switches_and_impossible_values_are_refused(cloud: Cloud) -> None:
    assert "no fault 'explode'" in cloud.call("POST", "/faults/explode", {})["error"]
    assert "fraction" in cloud.call("POST", "/faults/throttle_dynamodb", {"fraction": 2})["error"]
    assert cloud.call("GET", "/faults") == {"tripped_alarms": []}


@pytest.fixture
def redis_port() -> Iterator[int]:
    port = free_port()
    server = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"])
    client = redis.Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    eventually(answers)
    yield port
    server.terminate()
    server.wait(10)


@pytest.mark.stack
def test_dropping_redis_closes_clients_and_holds_commands_back(redis_port: int) -> None:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis(port=redis_port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    client.set("key", "value")
    connected = socket.create_connection(("127.0.0.1", redis_port), timeout=5)

    control.drop_redis("127.0.0.1", redis_port, seconds=1)

    assert connected.recv(1) == b""
    with pytest.raises(redis.TimeoutError):
        client.get("key")

    def back() -> bool:
        try:
            return bool(client.get("key") == b"value")
        except redis.RedisError:
            return False

    eventually(back, seconds=5)
    connected.close()
