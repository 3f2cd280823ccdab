"""Random change data, orderly and in any disorder: with snapshots of every day its history is the same as without."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from adrank.contracts.timestamps import HOUR
from spark.catalogue import fold, snapshots, views
from spark.lake.files import LakeFiles
from tests.support.catalogue_changes import FIRST, Change, disorderly, landed, orderly

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1800)]

BUCKET = "catalogue-lake"
DAYS = 4
_RAW = "org.apache.hadoop.fs.RawLocalFileSystem"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def spark(root: Path) -> Iterator[SparkSession]:
    links = {
        f"spark.hadoop.fs.viewfs.mounttable.{BUCKET}.link./{prefix}": (root / prefix).as_uri()
        for prefix in ("raw", "catalogue")
    }
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": _RAW,
        "spark.hadoop.fs.file.impl": _RAW,
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        **links,
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in options.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def hour(number: int) -> datetime:
    return FIRST + number * HOUR


SPANS = [(hour(24), hour(96)), (hour(55), hour(81)), (hour(72), hour(93))]


def versions(spark: SparkSession, files: LakeFiles, since: datetime, end: datetime) -> list[tuple[str, ...]]:
    found = views.history(spark, files, "ads", since, end).drop("updated_at", "seller_id").collect()
    return sorted(tuple(str(value) for value in row) for row in found)


def both_ways(spark: SparkSession, root: Path, changes: list[Change]) -> int:
    """Compare; returns how many snapshots were not taken because a change disturbed them."""
    for prefix in ("raw", "catalogue"):
        shutil.rmtree(root / prefix, ignore_errors=True)
        (root / prefix).mkdir()
    landed(root, changes, DAYS)
    files = LakeFiles(spark, BUCKET)
    everything = [versions(spark, files, *span) for span in SPANS]
    assert all(len(found) > 10 for found in everything)
    for day in range(1, DAYS):
        assert snapshots.ensure(spark, files, "ads", hour(24 * day))
    refused = 0
    precedes_compacted = fold.precedes_compacted
    with pytest.MonkeyPatch.context() as patch:

        def counted(*arguments: object) -> bool:
            nonlocal refused
            refused += (found := precedes_compacted(*arguments))  # type: ignore[arg-type]
            return found

        patch.setattr(fold, "precedes_compacted", counted)
        assert [versions(spark, files, *span) for span in SPANS] == everything
    return refused


@pytest.mark.parametrize("seed", range(3))
def test_what_databases_tell_is_folded_on_the_newest_snapshot(spark: SparkSession, root: Path, seed: int) -> None:
    assert both_ways(spark, root, orderly(random.Random(seed), DAYS, truncations=seed % 2 == 1)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_disorder_is_found_and_folded_from_further_back(spark: SparkSession, root: Path, seed: int) -> None:
    assert both_ways(spark, root, disorderly(random.Random(seed), DAYS)) > 0
