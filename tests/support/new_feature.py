"""Where ``contacts_per_click_28d`` arrives; run by test_declared_once on a copy of ``include/`` that declares it."""

from __future__ import annotations

import importlib.util
import shutil
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from redis import Redis

import adrank
from adrank.contracts import drift_monitors, lake, registry
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.online_layout import redis_key
from adrank.contracts.settings import Labels
from adrank.contracts.timestamps import HOUR
from adrank.online.vectors import GroupDecoder, VectorLayout
from adrank.ranking.ranker import CONTEXT_PREFIX
from spark.jobs.compute_features import main as compute
from spark.jobs.push_features import main as push
from spark.jobs.validate_features import main as validate
from tests.support.online_stores import RedisServer
from tests.support.spark_lake import BUCKET, TestLake, at, event
from training import build_training_set

INCLUDE = Path(adrank.__file__).parents[1]
DOCS = Path(__file__).parents[2] / "docs" / "generate.py"
NAME, VALUE = "contacts_per_click_28d", 0.5
GROUP = registry.load().group("ad_engagement")


def asked(hour: datetime) -> list[str]:
    return ["--bucket", BUCKET, "--start", hour.isoformat(), "--end", (hour + HOUR).isoformat()]


def computed(raw_lake: TestLake, hour: datetime) -> None:
    shutil.copytree(INCLUDE / "sql", raw_lake.path("code/sql"))
    kinds = ("impression", "click", "click", "contact")
    raw_lake.land(hour, [event(f"e{number}", kind, hour, "a") for number, kind in enumerate(kinds)])
    compute([*asked(hour), "--group", GROUP.name, "--queries", f"s3://{BUCKET}/code/sql"])
    for group in registry.load().groups:
        if group != GROUP:
            nothing = FeatureManifest(
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
            path.write_text(nothing.model_dump_json())


def test_it_arrives_everywhere(
    raw_lake: TestLake, spark: SparkSession, redis_server: RedisServer, tmp_path: Path
) -> None:
    computed(raw_lake, at(0))
    manifest = FeatureManifest.model_validate(raw_lake.read_json(lake.FEATURES(GROUP.name).manifest(at(0))))
    offline = pq.read_table(raw_lake.path(lake.FEATURES(GROUP.name).revision(at(0), 0)) / manifest.files[0])
    assert offline.column_names[-1] == NAME
    assert offline.column(NAME).to_pylist() == [VALUE]

    validate([*asked(at(0)), "--run", "r", "--row-ratio", "0.5", "2", "--min-rows-compared", "9"])
    results = raw_lake.read_json(lake.validation_run(at(0), "r") + "results.json")
    looked_at = {finding["expectation"] for finding in results["findings"] if finding["columns"] == NAME}
    assert looked_at == {"expect_column_values_to_be_between", "expect_column_values_to_be_of_type"}

    where = [
        "--redis-host",
        "127.0.0.1",
        "--redis-port",
        str(redis_server.port),
        "--table",
        "t",
        "--region",
        "eu-west-1",
    ]
    push(["--bucket", BUCKET, "--store", "redis", "--hour", at(0).isoformat(), *where])
    packed = Redis(port=redis_server.port).get(redis_key(GROUP, "a"))
    assert isinstance(packed, bytes)
    layout = VectorLayout.of(registry.load(), [NAME, f"{CONTEXT_PREFIX}distance"])
    rows = {GROUP.name: GroupDecoder(GROUP).decode([packed])}
    assert layout.assemble(rows, [{"distance": 3}]).tolist() == [[VALUE, 3]]

    learned_from(raw_lake, tmp_path)
    monitored = {monitor.feature: monitor for monitor in drift_monitors.monitors(registry.load())}
    assert monitored[NAME].missing
    assert f"| `{NAME}` |" in catalogue()


def learned_from(raw_lake: TestLake, output: Path) -> None:
    """Two searches, each with a click, after the features were there."""
    for number in range(2):
        kinds = ("impression", "click")
        searched = [event(f"{kind}{number}", kind, at(2 + number), "a") for kind in kinds]
        raw_lake.land(at(2 + number), [{**told, "search_id": f"s{number}"} for told in searched])
    build_training_set.build(
        raw_lake.path("raw/events"),
        raw_lake.path("features"),
        None,
        output,
        as_of=at(9),
        window_days=1,
        test_fraction=0.5,
        labels=Labels(),
    )
    rows = [row for split in ("train", "test") for row in pq.read_table(output / f"{split}.parquet").to_pylist()]
    assert {row["search_id"]: row[NAME] for row in rows if row["search_id"] != "s"} == {"s0": VALUE, "s1": VALUE}


def catalogue() -> str:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.features(registry.load()))
