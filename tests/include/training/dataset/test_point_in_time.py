"""Over any history of partitions, an impression sees what a brute-force look at all of them says that it sees."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adrank.contracts import lake
from adrank.contracts.timestamps import micros
from tests.include.training.logs import BACKGROUND, HOUR, NOON, Log, write_features
from training.dataset import duckdb_sql
from training.dataset.offline_features import FeatureFilesError


@dataclass(frozen=True)
class Partition:
    feature_time: datetime
    available_at: datetime
    revision: int
    values: Mapping[str, int]


def history(rng: random.Random, entities: list[str]) -> list[Partition]:
    """Revisions of many hours, of some of the entities or of none, that become visible in any order, often at once."""
    partitions: dict[tuple[datetime, int], Partition] = {}
    for number in range(rng.randrange(1, 80)):
        feature_time, revision = NOON + rng.randrange(30) * HOUR, rng.randrange(4)
        available_at = feature_time + rng.randrange(60) * timedelta(minutes=30)
        there = rng.sample(entities, rng.randrange(len(entities) + 1))
        values = {entity: number * 10 + place for place, entity in enumerate(there)}
        partitions[feature_time, revision] = Partition(feature_time, available_at, revision, values)
    return list(partitions.values())


def seen(partitions: list[Partition], entity: str, moment: datetime) -> int | None:
    """What the newest hour's newest revision among what is visible says of the entity, if anything."""
    visible = [partition for partition in partitions if partition.available_at <= moment]
    newest = max(visible, key=lambda partition: (partition.feature_time, partition.revision), default=None)
    return newest.values.get(entity) if newest else None


def joined(partitions: list[Partition], impressions: list[tuple[str, datetime]]) -> list[int | None]:
    """What the statements of the training set say, per impression."""
    connection = duckdb_sql.connect()
    stamp = pa.timestamp("us", "UTC")
    known = pa.table(
        {
            "feature_time": pa.array([partition.feature_time for partition in partitions], stamp),
            "available_at": pa.array([partition.available_at for partition in partitions], stamp),
            "revision": pa.array([partition.revision for partition in partitions], pa.int32()),
        }
    )
    rows = [(partition, entity, value) for partition in partitions for entity, value in partition.values.items()]
    group_rows = pa.table(
        {
            "entity_id": pa.array([entity for _, entity, _ in rows], pa.string()),
            "feature_us": pa.array([micros(partition.feature_time) for partition, _, _ in rows], pa.int64()),
            "revision": pa.array([partition.revision for partition, _, _ in rows], pa.int32()),
            "value": pa.array([value for _, _, value in rows], pa.int64()),
        }
    )
    shown = pa.table(
        {
            "number": range(len(impressions)),
            "ad_id": [entity for entity, _ in impressions],
            "event_us": [micros(moment) for _, moment in impressions],
        }
    )
    for name, table in (("partitions", known), ("group_rows", group_rows), ("shown", shown)):
        connection.register(name, table)
    duckdb_sql.create_table(connection, "visible_partitions", duckdb_sql.statement("training/visible_partitions"))
    statement = duckdb_sql.statement("training/point_in_time", source="shown", entity_key="ad_id", projection="g.value")
    assert duckdb_sql.create_table(connection, "joined", statement) == len(impressions), "rows in = rows out"
    return [value for (value,) in connection.execute("SELECT value FROM joined ORDER BY number").fetchall()]


@pytest.mark.parametrize("seed", range(40))
def test_an_impression_sees_the_newest_revision_of_the_newest_visible_hour(seed: int) -> None:
    rng = random.Random(seed)
    entities = ["a", "b", "c"]
    partitions = history(rng, entities)
    # On the half hours, where partitions become visible, as often as between them.
    impressions = [
        (rng.choice([*entities, "unknown"]), NOON + rng.randrange(-2, 140) * timedelta(minutes=15)) for _ in range(200)
    ]
    assert joined(partitions, impressions) == [seen(partitions, entity, moment) for entity, moment in impressions]


def test_the_oracle_sees_revisions_late_old_hours_and_who_vanished() -> None:
    partitions = [
        Partition(NOON, NOON + HOUR, 0, {"a": 1, "b": 4}),
        Partition(NOON, NOON + 2 * HOUR, 1, {"a": 2}),
        Partition(NOON - HOUR, NOON + 3 * HOUR, 1, {"a": 3, "b": 5}),
    ]
    moments = [NOON, NOON + HOUR, NOON + 2 * HOUR, NOON + 3 * HOUR]
    assert [seen(partitions, "a", moment) for moment in moments] == [None, 1, 2, 2]
    assert [seen(partitions, "b", moment) for moment in moments] == [None, 4, None, None]


def test_a_revision_is_read_off_its_folder(log: Log) -> None:
    features = log.root / "in"
    for revision, value in ((0, 1), (1, 2), (10, 3)):
        row = ("a", NOON - HOUR, NOON, {"impressions_7d": value})
        write_features(features, "ad_engagement", [row], revision=revision)
    log.build(BACKGROUND, features=features)
    assert log.row("q1", "a")["impressions_7d"] == 3, "all became visible at once: the last revision counts"


def test_a_file_that_no_manifest_names_is_refused(log: Log) -> None:
    features = write_features(log.root / "in", "ad_engagement", [("a", NOON, NOON, {})])
    (path,) = features.rglob("*.parquet")
    path.rename(path.with_name("part-1.parquet"))
    with pytest.raises(FeatureFilesError, match=r"no manifest names .*hr=11/rev=000/part-1\.parquet"):
        log.build(BACKGROUND, features=features)


def test_a_file_that_a_manifest_names_and_that_is_not_there_is_no_vanished_entity(log: Log) -> None:
    features = write_features(log.root / "in", "ad_engagement", [("a", NOON, NOON, {})])
    (path,) = features.rglob("*.parquet")
    path.unlink()
    with pytest.raises(FeatureFilesError, match=r"part-0\.parquet is no Parquet file"):
        log.build(BACKGROUND, features=features)


def test_a_file_whose_times_are_no_times_is_refused(log: Log) -> None:
    features = write_features(log.root / "in", "ad_engagement", [("a", NOON, NOON, {})])
    (path,) = features.rglob("*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "feature_time", pa.array(["noon"])), path)
    with pytest.raises(FeatureFilesError, match="features of group ad_engagement cannot be read"):
        log.build(BACKGROUND, features=features)


def test_a_manifest_of_another_partition_is_refused(log: Log) -> None:
    features = write_features(log.root / "in", "ad_engagement", [("a", NOON, NOON, {})])
    path = features / lake.FEATURES("ad_engagement").revision(NOON - HOUR, 0)
    path.rename(path.with_name("rev=001"))
    with pytest.raises(FeatureFilesError, match=r"rev=001.* is the manifest of another partition: .*rev=000"):
        log.build(BACKGROUND, features=features)
