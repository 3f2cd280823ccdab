"""Windows and roll-ups are proved against hourly tiles: every entity and column, and any difference has a name."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from adrank.contracts import lake, registry
from adrank.contracts.manifests import RollupManifest, TileManifest, WindowManifest
from spark.aggregation import windows
from spark.aggregation.event_views import EventLog
from spark.aggregation.tiles import Tiles
from spark.catalogue.views import Catalogue, CatalogueViews
from spark.jobs import check_windows
from spark.jobs.check_windows import NoWindowsError, TileMissingError
from spark.lake import raw_events
from spark.lake.files import LakeFiles
from tests.support.spark_lake import BUCKET, FIRST, TestLake, at, event

pytestmark = pytest.mark.spark
SQL = Path(__file__).resolve().parents[4] / "include" / "sql"
GROUP = "ad_engagement"
SQL_OF_TILES = SQL / "tiles" / f"{GROUP}.sql"
HOURS = 26
LAST = at(HOURS - 1)


def check() -> None:
    queries = f"s3://{BUCKET}/code/sql"
    check_windows.main(["--bucket", BUCKET, "--group", GROUP, "--day", f"{FIRST:%Y-%m-%d}", "--queries", queries])


def number(hour: int) -> int:
    return int(at(hour).timestamp()) // 3600


@pytest.fixture
def day_and_more(raw_lake: TestLake, spark: SparkSession) -> TestLake:
    """Tiles of a day and two hours, the day's roll-up, and windows at the end of the last two hours."""
    shutil.copytree(SQL, raw_lake.path("code/sql"))
    group = registry.load().group(GROUP)
    files = LakeFiles(spark, BUCKET)
    views = CatalogueViews.for_group(spark, Catalogue(spark, files, [group], ()), group)
    tiles = Tiles(spark, files, group, SQL_OF_TILES.read_text(), views, EventLog(spark, files, [group]))
    for hour in range(HOURS):
        raw_lake.land(at(hour), [])
    raws = raw_events.closed_hours(files, at(0), at(HOURS))
    chance = random.Random(4)
    tile_rows: list[dict[str, Any]] = []
    for hour, raw in enumerate(raws):
        rows: list[dict[str, Any]] = [
            {"hour_no": number(hour), "entity_id": f"ad-{ad}"}
            | {m: chance.randrange(4) for m in tiles.aggregation.measures}
            for ad in range(6)
            if chance.random() < 0.5
        ]
        tile_rows += rows
        folder = lake.TILES(GROUP).revision(at(hour), 0)
        named = tuple("rev=000/" + name for name in put(raw_lake, folder, rows))
        manifest = TileManifest(group=GROUP, hour=at(hour), counts=tiles.fingerprint, raw=raw.digest, files=named)
        raw_lake.path(folder + lake.MANIFEST).write_text(manifest.model_dump_json())

    def latest(rows: list[dict[str, Any]]) -> dict[str, int | None]:
        return {
            f"last_{m}": max((row["hour_no"] for row in rows if row[m] > 0), default=None)
            for m in tiles.aggregation.latest
        }

    ads = sorted({row["entity_id"] for row in tile_rows})
    of_day = [
        {"entity_id": ad, "hour_no": number(0)}
        | {m: sum(row[m] for row in rows) for m in tiles.aggregation.measures}
        | latest(rows)
        for ad in ads
        if (rows := [row for row in tile_rows if row["entity_id"] == ad and row["hour_no"] < number(24)])
    ]
    named = put(raw_lake, lake.ROLLUPS(GROUP).day(at(0)), of_day)
    added = tuple(raw.digest for raw in raws[:24])
    rollup = RollupManifest(group=GROUP, day=at(0), counts=tiles.fingerprint, tiles=added, files=named)
    raw_lake.path(lake.ROLLUPS(GROUP).manifest(at(0))).write_text(rollup.model_dump_json())

    for hour in (HOURS - 2, HOURS - 1):
        ended = []
        for ad in ads:
            rows = [row for row in tile_rows if row["entity_id"] == ad and row["hour_no"] <= number(hour)]
            sums = {
                name: sum(row[m] for row in rows if row["hour_no"] > number(hour) - hours)
                for name, m, hours in tiles.aggregation.sums
            }
            if any(sums.values()):
                ended.append({"entity_id": ad} | sums | latest(rows))
        named = put(raw_lake, lake.WINDOWS(GROUP).hour(at(hour)), ended)
        state = windows.raw_state(raws[: hour + 1])
        window = WindowManifest(group=GROUP, hour=at(hour), counts=tiles.fingerprint, raw=state, files=named)
        raw_lake.path(lake.WINDOWS(GROUP).manifest(at(hour))).write_text(window.model_dump_json())
    return raw_lake


def put(lake_: TestLake, folder: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    lake_.path(folder).mkdir(parents=True)
    if not rows:
        return ()
    numbers = [name for name in rows[0] if name != "entity_id"]
    schema = pa.schema([("entity_id", pa.string()), *((name, pa.int64()) for name in numbers)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), lake_.path(folder + "part-0.parquet"))
    return ("part-0.parquet",)


def damage(lake_: TestLake, prefix: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of a partition, behind the back of everybody."""
    path = lake_.path(prefix + "part-0.parquet")
    pq.write_table(change(pq.read_table(path)), path)


def plus_one(column: str, entity: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        hit = pc.equal(table["entity_id"], entity)
        assert pc.any(hit).as_py()
        values = pc.if_else(hit, pc.add(table[column], 1), table[column])
        return table.set_column(table.schema.get_field_index(column), column, values)

    return change


def test_what_adds_up_passes_and_says_how_much_was_compared(
    day_and_more: TestLake, capsys: pytest.CaptureFixture[str]
) -> None:
    check()
    output = capsys.readouterr().out
    assert f"6 rows of windows at the end of {LAST:%Y-%m-%dT%H} compared, 0 difference(s)" in output
    assert "6 rows of 1 roll-up(s) compared, 0 difference(s)" in output


def test_one_wrong_count_of_one_entity_is_named_with_both_values(day_and_more: TestLake) -> None:
    damage(day_and_more, lake.WINDOWS(GROUP).hour(LAST), plus_one("clicks_7d", "ad-3"))
    with pytest.raises(SystemExit) as failed:
        check()
    (difference,) = str(failed.value).split("; ")
    assert difference.startswith(f"{GROUP}: windows at the end of {LAST:%Y-%m-%dT%H}, entity_id=ad-3, clicks_7d: kept ")
    kept, added = (int(word.strip(",")) for word in difference.split() if word.strip(",").isdigit())
    assert kept == added + 1


def test_a_lost_entity_is_found(day_and_more: TestLake) -> None:
    damage(
        day_and_more,
        lake.WINDOWS(GROUP).hour(LAST),
        lambda table: table.filter(pc.not_equal(table["entity_id"], "ad-2")),
    )
    with pytest.raises(SystemExit, match=r"entity_id=ad-2, .*kept None, the tiles add up to \d"):
        check()


def test_a_wrong_roll_up_is_found(day_and_more: TestLake) -> None:
    damage(day_and_more, lake.ROLLUPS(GROUP).day(at(0)), plus_one("impressions", "ad-1"))
    with pytest.raises(SystemExit, match=r"roll-ups, entity_id=ad-1, hour_no=\d+, impressions: kept"):
        check()


def test_an_hour_without_its_tile_is_named(day_and_more: TestLake) -> None:
    shutil.rmtree(day_and_more.path(lake.TILES(GROUP).hour(at(7))))
    with pytest.raises(TileMissingError, match=re.escape(at(7).isoformat())):
        check()


def test_windows_that_late_events_outdated_prove_nothing_and_older_ones_are_too(day_and_more: TestLake) -> None:
    more: dict[str, Any] = event("late", "click", at(HOURS - 1, 30), "ad-0")
    day_and_more.late(LAST, [more], revision_time=at(HOURS + 1))
    damage(day_and_more, lake.WINDOWS(GROUP).hour(LAST), plus_one("clicks_7d", "ad-3"))
    check()
    day_and_more.late(at(20), [event("later", "click", at(20, 30), "ad-0")], revision_time=at(HOURS + 1))
    with pytest.raises(NoWindowsError, match="none would be carried on"):
        check()
