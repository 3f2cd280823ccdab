"""Validation stops the push; a push is repeatable and never goes back in time."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest
import redis
from pyspark.sql import SparkSession

from adrank.contracts import lake, registry
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.online_layout import redis_key, unpack
from adrank.contracts.registry import FeatureGroup
from spark.jobs.push_features import NotValidatedError, require_validated
from spark.jobs.push_features import main as push
from spark.lake.feature_manifests import LayoutMismatchError, manifest_of
from spark.lake.files import LakeFiles
from tests.include.spark.jobs.steps import ad, run, validate_hours, validate_revised
from tests.support.spark_lake import BUCKET, TestLake, at, event

pytestmark = pytest.mark.spark


def computed(raw_lake: TestLake, impressions: Sequence[int], image_quality_score: float = 0.5) -> None:
    """Compute every group over hours in which ad ``a`` was shown so often, and clicked once."""
    for hour, shown in enumerate(impressions):
        seen = [event(f"i{hour}-{n}", "impression", at(hour, n), "a") for n in range(shown)]
        raw_lake.land(at(hour), [*seen, event(f"c{hour}", "click", at(hour), "a")])
        raw_lake.change("ads", at(hour), "u", {**ad("a", 10), "image_quality_score": image_quality_score})
    for group in registry.load().groups:
        run(raw_lake, group.name, at(0), at(len(impressions)))


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


def test_a_value_out_of_range_fails_by_name_and_stops_the_push(
    raw_lake: TestLake, spark: SparkSession, redis_server: redis.Redis
) -> None:
    computed(raw_lake, [2], image_quality_score=7.5)
    with pytest.raises(SystemExit, match=r"ad_attributes.*image_quality_score.*7\.5"):
        validate_hours(0, 1)
    with pytest.raises(NotValidatedError, match="validation failed"):
        push_hour(redis_server, 0)
    assert redis_server.dbsize() == 0


def verdict(raw_lake: TestLake, success: bool, digest: str) -> None:
    path = raw_lake.path(lake.VALIDATION.hour(at(0)) + "results.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"success": success, "content_digests": {"ad_engagement": digest}}))


def test_only_the_very_rows_that_were_validated_may_be_pushed(raw_lake: TestLake, spark: SparkSession) -> None:
    files = LakeFiles(spark, BUCKET)
    group = registry.load().group("ad_engagement")
    there = FeatureManifest(
        group=group.name,
        hour=at(0),
        available_at=at(1, 10),
        fingerprint=group.fingerprint,
        rows=1,
        content_digest="aaaa",
        files=("part-0.parquet",),
    )
    with pytest.raises(NotValidatedError, match="missing"):
        require_validated(files, at(0), [there])
    verdict(raw_lake, False, "aaaa")
    with pytest.raises(NotValidatedError, match="validation failed"):
        require_validated(files, at(0), [there])
    verdict(raw_lake, True, "bbbb")
    with pytest.raises(
        NotValidatedError, match="other rows of ad_engagement: content bbbb was validated, aaaa is there"
    ):
        require_validated(files, at(0), [there])
    verdict(raw_lake, True, "aaaa")
    require_validated(files, at(0), [there])


def test_features_of_another_layout_are_not_pushed(raw_lake: TestLake, spark: SparkSession) -> None:
    group = registry.load().group("ad_engagement")
    raw_lake.land(at(0), [])
    run(raw_lake, group.name, at(0), at(1))
    path = raw_lake.path(lake.FEATURES(group.name).manifest(at(0)))
    path.write_text(path.read_text().replace(group.fingerprint, "0" * 64))
    with pytest.raises(
        LayoutMismatchError, match=f"layout 000000000000, group ad_engagement is {group.fingerprint[:12]}"
    ):
        manifest_of(LakeFiles(spark, BUCKET), group, at(0))


def test_pushing_again_changes_nothing_and_an_old_hour_never_wins(
    raw_lake: TestLake, spark: SparkSession, redis_server: redis.Redis
) -> None:
    computed(raw_lake, [2, 7])
    group = registry.load().group("ad_engagement")
    validate_hours(0, 2)
    for hour in (0, 1):
        results = raw_lake.read_json(lake.VALIDATION.hour(at(hour)) + "results.json")
        assert results["success"]
        assert results["content_digests"] == {
            g.name: raw_lake.read_json(lake.FEATURES(g.name).manifest(at(hour)))["content_digest"]
            for g in registry.load().groups
        }
    push_hour(redis_server, 1)
    there = redis_server.get(redis_key(group, "a"))
    assert isinstance(there, bytes)
    row = unpack(group, there)
    assert row.as_of == at(2)
    values = dict(zip(group.names, row.values, strict=True))
    assert (values["impressions_7d"], values["clicks_7d"]) == (9, 2)
    push_hour(redis_server, 1)
    push_hour(redis_server, 0)
    assert redis_server.get(redis_key(group, "a")) == there
    assert raw_lake.read_json(lake.PUSHES("redis").manifest(at(0)))["written"] == 0
    assert 0 < redis_server.ttl(redis_key(group, "a")) <= group.ttl_hours * 3600


def empty_partition(raw_lake: TestLake, group: FeatureGroup, hour: datetime) -> None:
    """As a step leaves it where there is nothing to compute."""
    manifest = FeatureManifest(
        group=group.name,
        hour=hour,
        available_at=hour,
        fingerprint=group.fingerprint,
        rows=0,
        content_digest="nothing",
        files=(),
    )
    path = raw_lake.path(lake.FEATURES(group.name).manifest(hour))
    path.parent.mkdir(parents=True)
    path.write_text(manifest.model_dump_json())


def test_after_late_events_revisions_are_validated_and_the_newest_one_is_pushed(
    raw_lake: TestLake, spark: SparkSession, redis_server: redis.Redis
) -> None:
    group = registry.load().group("ad_engagement")
    for hour in range(2):
        raw_lake.land(at(hour), [event(f"i{hour}", "impression", at(hour), "a")])
        for other in registry.load().groups:
            if other != group:
                empty_partition(raw_lake, other, at(hour))
    run(raw_lake, group.name, at(0), at(2))
    raw_lake.late(at(0), [event("late", "impression", at(0), "a")], at(1, 30))
    run(raw_lake, group.name, at(0), at(2))

    validate_revised(1, 2, at(-1))
    assert not raw_lake.path(lake.VALIDATION.hour(at(-1))).exists(), "no hour that was never computed"
    for hour in (0, 1):
        results = raw_lake.read_json(lake.VALIDATION.hour(at(hour)) + "results.json")
        revised = raw_lake.read_json(lake.FEATURES(group.name).manifest(at(hour), 1))
        assert results["content_digests"][group.name] == revised["content_digest"]
    push_hour(redis_server, 1)
    there = redis_server.get(redis_key(group, "a"))
    assert isinstance(there, bytes)
    assert unpack(group, there).values[group.names.index("impressions_7d")] == 3
