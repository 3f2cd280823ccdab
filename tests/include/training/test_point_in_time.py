"""Over any history of hours and revisions, an impression sees what a brute-force look at all rows says that it sees."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tests.include.training.logs import HOUR, NOON, Log, answered, write_features
from training import sql
from training.build_training_set import FeatureFilesError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    entity: str
    feature_time: datetime
    available_at: datetime
    revision: int
    value: int


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def history(rng: random.Random, entities: list[str]) -> list[Row]:
    """Revisions of many hours that become visible in any order, often at one moment."""
    rows: dict[tuple[str, datetime, int], Row] = {}
    for value in range(rng.randrange(1, 250)):
        feature_time = NOON + rng.randrange(30) * HOUR
        available_at = feature_time + rng.randrange(60) * timedelta(minutes=30)
        key = (rng.choice(entities), feature_time, rng.randrange(4))
        rows[key] = Row(key[0], feature_time, available_at, key[2], value)
    return list(rows.values())


def seen(rows: list[Row], entity: str, moment: datetime) -> int | None:
    """The newest hour's newest revision among what is visible."""
    visible = [row for row in rows if row.entity == entity and row.available_at <= moment]
    return max(visible, key=lambda row: (row.feature_time, row.revision)).value if visible else None


def joined(rows: list[Row], impressions: list[tuple[str, datetime]]) -> list[int | None]:
    """What the statements of the training set say, per impression."""
    connection = sql.connect()
    files = pa.table(
        {
            "entity_id": [row.entity for row in rows],
            "feature_time": pa.array([row.feature_time for row in rows], pa.timestamp("us", "UTC")),
            "available_at": pa.array([row.available_at for row in rows], pa.timestamp("us", "UTC")),
            "revision": pa.array([row.revision for row in rows], pa.int32()),
            "value": [row.value for row in rows],
        }
    )
    shown = pa.table(
        {
            "number": range(len(impressions)),
            "ad_id": [entity for entity, _ in impressions],
            "event_us": [us(moment) for _, moment in impressions],
        }
    )
    connection.register("group_files", files)
    connection.register("shown", shown)
    sql.create_table(connection, "visible_rows", sql.statement("training/visible_rows"))
    statement = sql.statement("training/point_in_time", source="shown", entity_key="ad_id", projection="g.value")
    assert sql.create_table(connection, "joined", statement) == len(impressions), "rows in = rows out"
    return [value for (value,) in connection.execute("SELECT value FROM joined ORDER BY number").fetchall()]


@pytest.mark.parametrize("seed", range(40))
def test_every_impression_sees_the_newest_revision_of_the_newest_hour_that_was_visible(seed: int) -> None:
    rng = random.Random(seed)
    entities = ["a", "b", "c"]
    rows = history(rng, entities)
    # On the half hours, where rows become visible, as often as between them.
    impressions = [
        (rng.choice([*entities, "unknown"]), NOON + rng.randrange(-2, 140) * timedelta(minutes=15)) for _ in range(200)
    ]
    assert joined(rows, impressions) == [seen(rows, entity, moment) for entity, moment in impressions]


def test_the_oracle_sees_revisions_and_late_old_hours() -> None:
    rows = [
        Row("a", NOON, NOON + HOUR, 0, 1),
        Row("a", NOON, NOON + 2 * HOUR, 1, 2),
        Row("a", NOON - HOUR, NOON + 3 * HOUR, 1, 3),
    ]
    moments = [NOON, NOON + HOUR, NOON + 2 * HOUR, NOON + 3 * HOUR]
    assert [seen(rows, "a", moment) for moment in moments] == [None, 1, 2, 2]


def test_a_revision_is_read_off_its_folder(log: Log) -> None:
    features = log.root / "in"
    for revision, value in ((0, 1), (1, 2), (10, 3)):
        row = ("a", NOON - HOUR, NOON, {"impressions_7d": value})
        write_features(features, "ad_engagement", [row], revision=revision)
    log.build([*answered("q1", NOON), *answered("q2", NOON + HOUR)], features=features)
    assert log.row("q1", "a")["impressions_7d"] == 3, "all became visible at once: the last revision counts"


def test_a_file_outside_a_revision_is_refused(log: Log) -> None:
    features = write_features(log.root / "in", "ad_engagement", [("a", NOON, NOON, {})])
    (path,) = features.rglob("*.parquet")
    moved = path.parents[1] / path.name
    path.rename(moved)
    with pytest.raises(FeatureFilesError, match=r"hr=11/part-0\.parquet does not lie in a folder rev=NNN"):
        log.build([*answered("q1", NOON), *answered("q2", NOON + HOUR)], features=features)
