"""Snapshots of ads and sellers: history on top of one is history of everything, and reads only what came since."""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CatalogueManifest
from adrank.storage.object_store import ObjectStore
from ingestion.landing import changes
from spark.catalogue import change_data, fold, views
from spark.catalogue.snapshots import ensure
from spark.lake.files import LakeFiles
from tests.support.catalogue_changes import change, landed, orderly
from tests.support.spark_lake import BUCKET, TestLake, at

pytestmark = pytest.mark.spark

Version = tuple[Any, ...]


@pytest.fixture
def files(raw_lake: TestLake, spark: SparkSession) -> LakeFiles:
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return LakeFiles(spark, BUCKET)


def versions(spark: SparkSession, files: LakeFiles, since: datetime, end: datetime) -> list[Version]:
    found = views.history(spark, files, "ads", since, end).drop("updated_at", "seller_id").collect()
    return sorted(tuple(str(value) for value in row) for row in found)


def test_history_on_top_of_snapshots_is_the_history_of_everything(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    landed(raw_lake.root, orderly(random.Random(1), 3, truncations=True), 3)
    everything = versions(spark, files, at(55), at(70))
    assert len(everything) > 10
    for day in (1, 2):
        assert ensure(spark, files, "ads", at(24 * day))
        for hour in timestamps.hours(at(24 * (day - 1)), at(24 * day)):
            shutil.rmtree(raw_lake.path(lake.RAW_CDC("ads").hour(hour)))
    assert versions(spark, files, at(55), at(70)) == everything, "of what was folded nothing is left to read"


#: name -> changes that land in the second day or later, after a snapshot of the second day knows ``k`` at position 10.
DISTURBING = {
    "the log has it earlier": change("u", at(26), 7, "k", 3),
    "it says an earlier time": change("u", at(20), 12, "k", 3),
    "a truncation that the log has earlier": change("t", at(26), 7, None),
}


@pytest.mark.parametrize("name", DISTURBING)
def test_a_change_before_what_a_snapshot_settled_is_folded_with_everything(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles, name: str
) -> None:
    before = [(at(3), change("c", at(3), 5, "k", 1)), (at(5), change("u", at(5), 10, "k", 2))]
    landed(raw_lake.root, [*before, (at(26), DISTURBING[name])], 3)
    everything = versions(spark, files, at(24), at(72))
    assert ensure(spark, files, "ads", at(24))
    assert versions(spark, files, at(24), at(72)) == everything


def test_a_change_that_landed_before_its_day_can_disturb_its_snapshot(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    ahead = (at(4), change("u", at(26), 7, "k", 3))
    landed(raw_lake.root, [(at(3), change("c", at(3), 5, "k", 1)), ahead, (at(5), change("u", at(5), 10, "k", 2))], 2)
    everything = versions(spark, files, at(24), at(48))
    assert ensure(spark, files, "ads", at(24))
    assert versions(spark, files, at(24), at(48)) == everything
    assert len(everything) == 2


def settled(raw_lake: TestLake) -> None:
    """Two days: an ad that gets a price on the first, and another one on the second."""
    landed(raw_lake.root, [(at(3), change("c", at(3), 5, "k", 1)), (at(30), change("u", at(30), 10, "k", 2))], 2)


def snapshot_rows(spark: SparkSession, files: LakeFiles, day: datetime) -> list[Any]:
    ads = lake.CATALOGUE("ads")
    manifest = files.load(ads.manifest(day), CatalogueManifest)
    assert manifest is not None
    written = (ads.day(day) + name for name in manifest.files)
    return sorted(map(repr, files.read_parquet(spark, written, fold.schema("ads")).collect()))


def test_a_snapshot_has_the_same_rows_from_whatever_it_is_written(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    landed(raw_lake.root, orderly(random.Random(4), 2, truncations=True), 2)
    assert ensure(spark, files, "ads", at(48))
    from_everything = snapshot_rows(spark, files, at(48))
    manifest = raw_lake.path(lake.CATALOGUE("ads").manifest(at(48)))
    there = manifest.read_text()
    assert ensure(spark, files, "ads", at(48))
    assert manifest.read_text() == there, "what is there stays"
    manifest.unlink()
    assert ensure(spark, files, "ads", at(24))
    assert ensure(spark, files, "ads", at(48))
    assert snapshot_rows(spark, files, at(48)) == from_everything


def test_a_change_behind_a_snapshot_is_in_history_at_once_and_in_the_next_snapshot(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    settled(raw_lake)
    assert ensure(spark, files, "ads", at(24))
    changes.land_cdc(ObjectStore.connect(BUCKET), "ads", at(4), [change("u", at(4), 6, "k", 7)])
    everything = versions(spark, files, at(24), at(48))
    assert "7.0" in str(everything)
    assert ensure(spark, files, "ads", at(24))
    shutil.rmtree(raw_lake.path(lake.RAW_CDC("ads").hour(at(4))))
    assert versions(spark, files, at(24), at(48)) == everything


def test_a_day_before_which_an_hour_is_open_has_no_snapshot_yet(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    settled(raw_lake)
    assert not ensure(spark, files, "ads", at(72))
    raw_lake.path(lake.RAW_CDC("ads").manifest(at(47))).unlink()
    assert not ensure(spark, files, "ads", at(48))
    assert not raw_lake.path(lake.CATALOGUE("ads").prefix).exists()


def test_a_snapshot_of_other_columns_is_not_taken(raw_lake: TestLake, spark: SparkSession, files: LakeFiles) -> None:
    settled(raw_lake)
    assert ensure(spark, files, "ads", at(24))
    path = raw_lake.path(lake.CATALOGUE("ads").manifest(at(24)))
    manifest = CatalogueManifest.model_validate_json(path.read_text())
    del manifest.columns["title"]
    path.write_text(manifest.model_dump_json())
    shutil.rmtree(path.parent / manifest.attempt)
    assert len(versions(spark, files, at(24), at(48))) == 2


def test_a_torn_file_of_a_day_that_is_folded_is_not_looked_at(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    settled(raw_lake)
    assert ensure(spark, files, "ads", at(24))
    for hour in (at(3), at(30)):
        (raw_lake.path(lake.RAW_CDC("ads").hour(hour)) / "part-0.jsonl").unlink()
        if hour == at(3):
            assert versions(spark, files, at(24), at(30))
    with pytest.raises(change_data.CdcFileTornError, match="hr=06"):
        versions(spark, files, at(24), at(48))


def test_a_snapshot_begins_with_a_day(raw_lake: TestLake, spark: SparkSession, files: LakeFiles) -> None:
    with pytest.raises(ValueError, match="not the start of a day"):
        ensure(spark, files, "ads", at(24) + timedelta(minutes=1))
