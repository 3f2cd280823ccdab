"""One application does all of an hour: each part says what came of it, and what is whole is not done twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from pyspark.sql import SparkSession
from redis import Redis

from adrank.contracts import lake, registry
from adrank.contracts.manifests import AuditManifest, FeatureManifest, FeatureRun
from adrank.contracts.online_layout import redis_key, unpack
from spark.application.parts import PartsFailedError
from spark.jobs import compute_features, hourly_features
from tests.support.online_stores import REGION, RedisServer
from tests.support.spark_lake import BUCKET, FEATURES_TABLE, TestLake, at, event
from tests.support.table_server import TableServer

pytestmark = pytest.mark.spark
SQL = Path(__file__).resolve().parents[4] / "include" / "sql"
GROUPS = [group.name for group in registry.load().groups]
PARTS = [*(f"compute.{name}" for name in GROUPS), "validate", "push.redis", "push.dynamodb", "audit"]
ENGAGEMENT = registry.load().group("ad_engagement")


Run = Callable[..., dict[str, str]]


@pytest.fixture
def run(
    raw_lake: TestLake, redis_server: RedisServer, tables: TableServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs the step for an hour, as a process of its own would; returns the state of each part."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", tables.url)
    # Python workers see the environment of Spark's own process, and what is set here.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.setitem(SparkSession.active().sparkContext.environment, name, os.environ[name])
    Redis(port=redis_server.port).flushall()
    shutil.copytree(SQL, raw_lake.path("code/sql"))

    def step(hour: int, run_id: str = "scheduled__1") -> dict[str, str]:
        SparkSession.active().catalog.clearCache()
        options = {
            "--bucket": BUCKET,
            "--hour": at(hour).isoformat(),
            "--queries": f"s3://{BUCKET}/code/sql",
            "--run": run_id,
            "--owner": "the step",
            "--late-lookback-hours": "72",
            "--min-rows-compared": "1000",
            "--redis-host": "127.0.0.1",
            "--redis-port": str(redis_server.port),
            "--table": FEATURES_TABLE,
            "--region": REGION,
            "--sample": "50",
            "--max-skew": "0",
        }
        words = [word for option in options.items() for word in option]
        hourly_features.main([*words, "--row-ratio", "0.5", "2"])
        return states(raw_lake, hour, run_id)

    # The lake keeps its own keys: leases speak to it beside CloudWatch.
    with mock_aws(config={"core": {"mock_credentials": False}}):
        yield step


def report(raw_lake: TestLake, hour: int, run_id: str = "scheduled__1") -> FeatureRun:
    return FeatureRun.model_validate(raw_lake.read_json(lake.feature_run(at(hour), run_id)))


def states(raw_lake: TestLake, hour: int, run_id: str = "scheduled__1") -> dict[str, str]:
    return {part.name: part.state for part in report(raw_lake, hour, run_id).parts}


def landed(raw_lake: TestLake, hours: int) -> None:
    for hour in range(hours):
        raw_lake.land(at(hour), [event(f"i{hour}", "impression", at(hour), "a")])
        for table, row in (("ads", {"ad_id": "a", "seller_id": "s"}), ("sellers", {"seller_id": "s"})):
            raw_lake.change(table, at(hour), "r" if hour == 0 else "u", {**row, "created_at": at(0).isoformat()})


def manifests(raw_lake: TestLake, hour: int) -> dict[str, tuple[int, str, tuple[str, ...]]]:
    """Of each group that has a partition: revision, digest and names of the files, which are random."""
    found = {}
    for name in GROUPS:
        for path in sorted(raw_lake.path(lake.FEATURES(name).hour(at(hour))).glob(f"rev=*/{lake.MANIFEST}")):
            manifest = FeatureManifest.model_validate_json(path.read_text())
            found[name] = (manifest.revision, manifest.content_digest, manifest.files)
    return found


def broken_query(raw_lake: TestLake, group: str) -> Callable[[], None]:
    """Break a group's query; returns what mends it."""
    query = raw_lake.path(f"code/sql/features/{group}.sql")
    right = query.read_text()
    query.write_text("SELECT nothing FROM nowhere")
    return lambda: (query.write_text(right), None)[1]


def test_an_hour_is_computed_validated_pushed_and_audited(
    raw_lake: TestLake, run: Run, redis_server: RedisServer
) -> None:
    landed(raw_lake, 1)
    assert run(0) == dict.fromkeys(PARTS, "success")
    assert set(manifests(raw_lake, 0)) == set(GROUPS)
    assert raw_lake.read_json(lake.VALIDATION.hour(at(0)) + "results.json")["success"]
    packed: Any = Redis(port=redis_server.port).get(redis_key(ENGAGEMENT, "a"))
    assert unpack(ENGAGEMENT, packed).values[ENGAGEMENT.names.index("impressions_7d")] == 1
    assert AuditManifest.model_validate(raw_lake.read_json(lake.audit(at(0)))).consistent


def test_a_group_that_fails_stops_no_other_and_nothing_is_pushed(
    raw_lake: TestLake, run: Run, redis_server: RedisServer
) -> None:
    landed(raw_lake, 1)
    broken_query(raw_lake, "seller_stats")
    with pytest.raises(PartsFailedError, match=r"^compute\.seller_stats: AnalysisException: .*nowhere"):
        run(0)
    computed = {f"compute.{name}": "failed" if name == "seller_stats" else "success" for name in GROUPS}
    assert states(raw_lake, 0) == computed | dict.fromkeys(PARTS[len(GROUPS) :], "skipped")
    assert set(manifests(raw_lake, 0)) == set(GROUPS) - {"seller_stats"}
    assert not Redis(port=redis_server.port).keys("f:*")


def test_a_retry_computes_only_what_is_missing(raw_lake: TestLake, run: Run) -> None:
    landed(raw_lake, 1)
    mend = broken_query(raw_lake, "seller_stats")
    with pytest.raises(PartsFailedError):
        run(0)
    before = manifests(raw_lake, 0)
    mend()
    assert run(0) == dict.fromkeys(PARTS, "success")
    after = manifests(raw_lake, 0)
    assert {name: after[name] for name in before} == before, "not even the files' names are others"
    assert after.keys() - before.keys() == {"seller_stats"}


def test_an_hour_that_was_published_without_its_windows_gets_them_alone(raw_lake: TestLake, run: Run) -> None:
    landed(raw_lake, 1)
    run(0)
    before = manifests(raw_lake, 0)
    raw_lake.path(lake.WINDOWS("ad_engagement").manifest(at(0))).unlink()
    run(0)
    assert manifests(raw_lake, 0) == before, "nothing was computed twice"
    assert raw_lake.path(lake.WINDOWS("ad_engagement").manifest(at(0))).exists()


def test_features_that_break_an_expectation_are_not_pushed(
    raw_lake: TestLake, run: Run, redis_server: RedisServer
) -> None:
    landed(raw_lake, 1)
    raw_lake.change("ads", at(0), "u", {"ad_id": "a", "seller_id": "s", "image_quality_score": 7.5})
    with pytest.raises(PartsFailedError, match=r"^validate: .*image_quality_score.*7\.5"):
        run(0)
    assert states(raw_lake, 0)["validate"] == "failed"
    assert {states(raw_lake, 0)[part] for part in PARTS[-3:]} == {"skipped"}
    assert not Redis(port=redis_server.port).keys("f:*")


def test_earlier_hours_that_late_events_changed_are_revised_first_and_validated(raw_lake: TestLake, run: Run) -> None:
    landed(raw_lake, 3)
    run(0)
    run(1)
    raw_lake.late(at(0), [event("late", "impression", at(0), "b")], at(2, 30))
    run(2)
    assert report(raw_lake, 2).revised_from == at(0)
    for hour in (0, 1):
        revision, digest, _ = manifests(raw_lake, hour)["ad_engagement"]
        assert revision == 1
        results = raw_lake.read_json(lake.VALIDATION.hour(at(hour)) + "results.json")
        assert results["content_digests"]["ad_engagement"] == digest
        assert manifests(raw_lake, hour)["ad_attributes"][0] == 0, "it reads no events"


def test_hours_that_a_killed_try_revised_are_validated_by_the_next(
    raw_lake: TestLake, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(raw_lake, 2)
    run(0)
    raw_lake.late(at(0), [event("late", "impression", at(0), "b")], at(1, 30))

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hourly_features, "validate", killed)
        with pytest.raises(KeyboardInterrupt):
            run(1)
    assert "validate" not in states(raw_lake, 1)
    run(1)
    results = raw_lake.read_json(lake.VALIDATION.hour(at(0)) + "results.json")
    assert results["content_digests"]["ad_engagement"] == manifests(raw_lake, 0)["ad_engagement"][1]


def test_several_groups_of_a_range_are_computed_in_one_application(raw_lake: TestLake, run: Run) -> None:
    landed(raw_lake, 3)
    words = ["--bucket", BUCKET, "--start", at(0).isoformat(), "--end", at(3).isoformat(), "--owner", "a chunk"]
    broken_query(raw_lake, "ad_attributes")
    with pytest.raises(PartsFailedError, match=r"^ad_attributes: "):
        compute_features.main(
            [*words, *(w for name in GROUPS for w in ("--group", name)), "--queries", f"s3://{BUCKET}/code/sql"]
        )
    assert all(set(manifests(raw_lake, hour)) == set(GROUPS) - {"ad_attributes"} for hour in range(3))
