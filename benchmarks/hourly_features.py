"""What one hour of features costs: with a long history behind it, and beside a query that scans its window anew.

    python -m benchmarks.hourly_features [--full] [--long-days N] [--events-per-hour N] [--log-events N]

**Flat.** The hourly computation of all groups side by side, three hours in a row in a warm session, on a log of 7 days
and on one that is longer than any window (30 days, in full 90): seconds and bytes read, medians over the hours. Both
logs are of the same ads and users, nearly all of whom a week shows; otherwise the windows of 28 days would have more
of them to hold after 28 days than after 7.

**Against a rescan.** The click-through rate over 168 hours as a query over the raw log has to get it (each event once,
half-open window, ``try_divide``), on a 7-day log of 4 million events, in full 20 million, 200 to an ad: the larger, the
more it costs to scan. Ours adds the hour that enters and takes away the one that leaves. Both warm, both on the same
Spark; the rates must be the same for every ad. Whole processes, from their start to their end, are printed too.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.timestamps import HOUR
from benchmarks.lakes import BUCKET, START, BenchLake, bench_lake, bytes_read
from benchmarks.results import Size, parse_sizes, record

GROUPS = tuple(group.name for group in registry.load().groups)
#: The blueprint's query, made runnable and fair: times are parameters, each event counts once, no division by zero.
RESCAN = """
WITH once AS (
    SELECT event_id, min(struct(event_time, event_type, ad_id)) AS event
    FROM log
    WHERE event_time >= timestamp_seconds({end} - 168 * 3600) AND event_time < timestamp_seconds({end})
    GROUP BY event_id
)
SELECT
    event.ad_id AS entity_id,
    try_divide(count_if(event.event_type = 'click'), count_if(event.event_type = 'impression')) AS ctr_7d
FROM once
GROUP BY event.ad_id
"""
ROUNDS = 3
UNITS = {"seconds": "s", "bytes": "bytes"}
#: Hours that a session computes before one is timed.
WARM_HOURS = 5


def compute(groups: Sequence[str], start: datetime, end: datetime) -> None:
    """The step's own entry point; groups are computed side by side."""
    from spark.jobs.compute_features import main

    arguments = ["--bucket", BUCKET, "--start", start.isoformat(), "--end", end.isoformat()]
    arguments += [word for group in groups for word in ("--group", group)]
    main([*arguments, "--queries", f"s3://{BUCKET}/code/sql"])


def timed(spark: SparkSession, work: Callable[[], object]) -> dict[str, float]:
    """Seconds and bytes read of one piece of work, which finds nothing that Spark kept of the one before."""
    spark.catalog.clearCache()
    before, began = bytes_read(spark), time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - began, "bytes": bytes_read(spark) - before}


def flat(directory: Path, days: int, events: int, ads: int) -> dict[str, float]:
    """Seconds and bytes of one hour of all groups after so many days."""
    hours = list(timestamps.hours(START, START + timedelta(days=days)))
    with bench_lake(directory, os.environ) as made:  # type: ignore[arg-type]
        made.land(iter(hours), events, ads=ads, users=ads // 10, seed=1)
        made.catalogue(iter(hours), ads=ads, sellers=ads // 10, changes=40, seed=2)
        spark = made.session()
        unmeasured, measured = hours[-ROUNDS - WARM_HOURS : -ROUNDS], hours[-ROUNDS:]
        began = time.perf_counter()
        compute(GROUPS, START, unmeasured[0])
        print(f"{days} days as one range: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        for hour in unmeasured:
            compute(GROUPS, hour, hour + HOUR)
        cost = _medians([timed(spark, lambda h=hour: compute(GROUPS, h, h + HOUR)) for hour in measured])
        spark.stop()
    return cost


def rescan(directory: Path, events: int, warm_seconds: int) -> None:
    """Both ways over the same log; see the module's description. Each works for so long before it is timed."""
    hours = list(timestamps.hours(START, START + timedelta(days=7, hours=2)))
    last, ads = hours[-1], max(events // 200, 100)
    with bench_lake(directory, os.environ) as made:  # type: ignore[arg-type]
        rows = made.land(iter(hours), -(-events // 168), ads=ads, users=2 * ads, seed=3)
        made.catalogue(iter(hours[:1]), ads=ads, sellers=ads // 20, changes=0, seed=4)
        print(f"log: {rows:,} rows in {len(hours)} hours", flush=True)
        spark = made.session()
        group = "ad_engagement"
        compute([group], START, last)
        ours = _warm_rounds(spark, lambda: _hour_of_counts(spark, last), warm_seconds)
        compute([group], last, last + HOUR)
        query = _log(spark, hours[-168:]).sparkSession.sql(RESCAN.format(end=int((last + HOUR).timestamp())))
        peer = _warm_rounds(spark, lambda: query.write.format("noop").mode("overwrite").save(), warm_seconds)
        written = spark.read.parquet(f"s3://{BUCKET}/{lake.FEATURES(group).revision(last, 0)}").select(
            "entity_id", "ctr_7d"
        )
        different = _different(written, query)
        spark.stop()
        if different:
            raise SystemExit(f"ctr_7d differs for {different} ads")
        for name, unit in UNITS.items():
            record(f"ctr_7d of one hour by rescan over by windows, {name}", peer[name], ours[name], "windows", unit)
        whole = {who: _whole(made, who, last) for who in ("ours", "peer")}
        record("ctr_7d of one hour, whole process", whole["ours"], whole["peer"], "rescan", "s")


def _warm_rounds(spark: SparkSession, work: Callable[[], object], warm_seconds: int) -> dict[str, float]:
    began = time.perf_counter()
    while time.perf_counter() - began < warm_seconds:
        timed(spark, work)
    return _medians([timed(spark, work) for _ in range(ROUNDS)])


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in UNITS}


def _hour_of_counts(spark: SparkSession, hour: datetime) -> None:
    """An hour's tile from the raw log, and the windows that it gives: all that the rate needs. Nothing is kept."""
    from adrank.decisions import lateness
    from spark.aggregation import window_range
    from spark.aggregation.event_views import EventLog
    from spark.aggregation.tiles import Tiles
    from spark.catalogue.views import Catalogue, CatalogueViews
    from spark.lake import raw_events
    from spark.lake.files import LakeFiles

    files = LakeFiles(spark, BUCKET)
    group = registry.load().group("ad_engagement")
    files.delete(lake.TILES(group.name).hour(hour).rstrip("/"))
    raws = raw_events.closed_hours(files, lateness.horizon_start(hour - HOUR), hour + HOUR)
    views = CatalogueViews.for_group(spark, Catalogue(spark, files, [group], ()), group)
    tiles = Tiles(
        spark, files, group, files.read(f"code/sql/tiles/{group.name}.sql"), views, EventLog(spark, files, [group])
    )
    counted = window_range.compute(tiles, raws, hour, hour + HOUR)
    rates = counted.per_hour.selectExpr("entity_id", "try_divide(clicks_7d, impressions_7d) AS ctr_7d")
    rates.write.format("noop").mode("overwrite").save()


def _log(spark: SparkSession, hours: list[datetime]) -> DataFrame:
    paths = [f"s3://{BUCKET}/{lake.RAW_EVENTS.hour(hour)}part-0.parquet" for hour in hours]
    log = spark.read.schema("event_id string, event_type string, event_time timestamp, ad_id string").parquet(*paths)
    log.createOrReplaceTempView("log")
    return log


def _different(ours: DataFrame, peer: DataFrame) -> int:
    both = ours.alias("a").join(peer.where("ctr_7d IS NOT NULL").alias("b"), "entity_id", "full")
    return both.where("NOT (a.ctr_7d <=> CAST(b.ctr_7d AS FLOAT))").count()


def _whole(made: BenchLake, who: str, last: datetime) -> float:
    """Seconds of a process of its own for one hour."""
    command = [sys.executable, "-m", __spec__.name, who, str(made.config.lake_dir.parent), last.isoformat()]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - began


def _alone(who: str, directory: Path, last: datetime) -> None:
    made = BenchLake(directory)
    spark = made.session()
    if who == "ours":
        shutil.rmtree(made.root / lake.TILES("ad_engagement").hour(last))
        compute(["ad_engagement"], last, last + HOUR)
    else:
        _log(spark, list(timestamps.hours(last - 167 * HOUR, last + HOUR)))
        query = spark.sql(RESCAN.format(end=int((last + HOUR).timestamp())))
        query.write.mode("overwrite").parquet(f"s3://{BUCKET}/features/rescan/")


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in ("ours", "peer", "flat"):
        if sys.argv[1] == "flat":
            print(json.dumps(flat(Path(sys.argv[2]), *map(int, sys.argv[3:]))))
        else:
            _alone(sys.argv[1], Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3]))
        return
    args = parse_sizes(
        "What one hour of features costs.",
        short_days=7,
        long_days=Size(30, 90),
        events_per_hour=2000,
        ads=1000,
        log_events=Size(4_000_000, 20_000_000),
        warm_seconds=Size(30, 60),
    )
    costs = []
    for days in (args.short_days, args.long_days):
        with tempfile.TemporaryDirectory(prefix="hourly-bench-") as directory:
            command = [sys.executable, "-m", __spec__.name, "flat", directory]
            command += [str(number) for number in (days, args.events_per_hour, args.ads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            costs.append(json.loads(done.stdout.splitlines()[-1]))
    short, long = costs
    for name, unit in UNITS.items():
        what = f"one hour of features, {args.long_days} days of history, {name}"
        record(what, long[name], short[name], f"{args.short_days} days of history", unit)
    with tempfile.TemporaryDirectory(prefix="hourly-bench-") as directory:
        rescan(Path(directory), args.log_events, args.warm_seconds)


if __name__ == "__main__":
    main()
