"""Validation stops the push; a push is repeatable and never goes back in time."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from pyspark.sql import SparkSession

from adrank.contracts import lake, registry
from adrank.contracts.online_layout import redis_key, unpack
from spark.lake_files import LakeFiles
from spark.push_features import NotValidatedError, require_validated
from spark.push_features import main as push
from spark.validate_features import main as validate
from tests.include.spark.conftest import BUCKET, TestLake, at, event
from tests.include.spark.test_compute_features import ad, run

pytestmark = pytest.mark.spark


def validate_hour(start: int = 0) -> None:
    end = at(start) + timedelta(hours=1)
    validate(["--bucket", BUCKET, "--start", at(start).isoformat(), "--end", end.isoformat()])


def computed(raw_lake: TestLake, hour: int, extra: int = 0) -> None:
    seen = [event(f"i{hour}-{n}", "impression", at(hour, n), "a") for n in range(2 + extra)]
    raw_lake.land(at(hour), [*seen, event(f"c{hour}", "click", at(hour), "a")])
    raw_lake.change("ads", at(hour), "u", ad("a", 10))
    for group in registry.load().groups:
        run(raw_lake, group.name, at(hour), at(hour + 1))


@pytest.fixture
def redis_server(tmp_path: Any) -> Iterator[redis.Redis]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("redis-server")
    assert program, "redis-server is a system part that set-up installs"
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if "Ready to accept connections" in line:
            break
    client = redis.Redis(host="127.0.0.1", port=port)
    yield client
    client.close()
    server.terminate()
    server.wait()


def push_hour(client: redis.Redis, hour: int) -> None:
    where = ["--redis-host", "127.0.0.1", "--redis-port", str(client.connection_pool.connection_kwargs["port"])]
    arguments = ["--bucket", BUCKET, "--store", "redis", "--hour", at(hour).isoformat(), *where]
    push([*arguments, "--table", "t", "--region", "eu-west-1"])


def test_good_features_pass_and_every_hour_of_the_range_has_its_results(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    computed(raw_lake, 0)
    validate_hour()
    results = raw_lake.read_json(lake.validation(at(0)) + "results.json")
    assert results["success"]
    assert {finding["group"] for finding in results["findings"]} == {g.name for g in registry.load().groups}


def test_a_value_out_of_range_fails_by_name_and_stops_the_push(
    raw_lake: TestLake, spark: SparkSession, redis_server: redis.Redis
) -> None:
    computed(raw_lake, 0)
    raw_lake.change("ads", at(0, 5), "u", {**ad("a", 10), "image_quality_score": 7.5})
    run(raw_lake, "ad_attributes", at(0), at(1))
    with pytest.raises(SystemExit, match=r"ad_attributes.*image_quality_score.*7\.5"):
        validate_hour()
    with pytest.raises(NotValidatedError, match="validation failed"):
        push_hour(redis_server, 0)
    assert redis_server.dbsize() == 0


def test_an_hour_that_was_never_validated_is_not_pushed(raw_lake: TestLake, spark: SparkSession) -> None:
    with pytest.raises(NotValidatedError, match="missing"):
        require_validated(LakeFiles(spark, BUCKET), at(0))


def test_pushing_again_changes_nothing_and_an_old_hour_never_wins(
    raw_lake: TestLake, spark: SparkSession, redis_server: redis.Redis
) -> None:
    computed(raw_lake, 0)
    computed(raw_lake, 1, extra=5)
    group = registry.load().group("ad_engagement")
    for hour in (0, 1):
        validate_hour(hour)
    push_hour(redis_server, 1)
    there = redis_server.get(redis_key(group, "a"))
    assert isinstance(there, bytes)
    row = unpack(group, there)
    assert row.as_of == at(2)
    assert row.values[:2] == (9, 2)
    push_hour(redis_server, 1)
    push_hour(redis_server, 0)
    assert redis_server.get(redis_key(group, "a")) == there
    assert raw_lake.read_json(lake.push_manifest("redis", at(0)))["stale"] == 2
    assert raw_lake.read_json(lake.push_manifest("redis", at(1)))["written"] == 2
    assert 0 < redis_server.ttl(redis_key(group, "a")) <= group.ttl_hours * 3600
