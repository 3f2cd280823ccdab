"""Computes one feature group for whole hours: one for the hourly run, all of history for a range step; one SQL.

    spark-submit compute_features.py --bucket B --group G --start ISO --end ISO --sql s3://... [--revise]
        [--ignored-column TABLE.COLUMN]

The query sees the views of the group's declared inputs and no clock: ``events`` (each once, seven days back),
``ads_history`` and ``sellers_history`` (with ``valid_from``/``valid_to``); and ``hours`` (``hour_no``, ``hour``,
``hour_end``), which are the hours to compute. Which revision the rows become is :mod:`spark.feature_partitions`' rule;
``--revise`` leaves out the hours of the range that late events did not touch or that nobody has computed yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake, registry
from adrank.decisions import lateness
from adrank.decisions.lateness import RawLog
from spark import feature_manifests, feature_partitions, raw_log, validity
from spark.lake_files import LakeFiles
from spark.session import session


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--start", required=True, type=datetime.fromisoformat)
    parser.add_argument("--end", required=True, type=datetime.fromisoformat)
    parser.add_argument("--sql", required=True)
    parser.add_argument("--revise", action="store_true")
    parser.add_argument("--ignored-column", action="append", default=[], metavar="TABLE.COLUMN")
    asked = parser.parse_args(argv)
    hours = list(lake.hours(asked.start, lake.floor_hour(asked.end)))
    if not hours:
        parser.error(f"there is no whole hour from {asked.start.isoformat()} to {asked.end.isoformat()}")

    group = registry.load().group(asked.group)
    spark = session(f"features {group.name} {asked.start.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    closed = raw_log.closed_hours(files, hours[0], hours[-1] + lake.HOUR)
    log = RawLog.of(closed)
    if asked.revise:
        hours = lateness.outdated(group, feature_manifests.computed(files, group, hours), log)
        if not hours:
            print(f"{group.name}: late events outdated none of these hours")
            return
    start, end = hours[0], hours[-1] + lake.HOUR

    if "events" in group.inputs:
        reached = [raw for raw in closed if lateness.window_start(start) <= raw.hour < end]
        raw_log.events(spark, files, reached).createOrReplaceTempView("events")
    for table in ("ads", "sellers"):
        if table in group.inputs:
            known = validity.history(spark, files, table, end, asked.ignored_column)
            known.createOrReplaceTempView(f"{table}_history")
    _hours(spark, hours).createOrReplaceTempView("hours")

    query = files.read(asked.sql.removeprefix(files.root))
    for manifest in feature_partitions.write(spark.sql(query), files, group, hours, log):
        print(
            f"{group.name} {manifest.hour.isoformat()} revision={manifest.revision} rows={manifest.rows} "
            f"digest={manifest.content_digest[:12]}"
        )


def _hours(spark: SparkSession, hours: Sequence[datetime]) -> DataFrame:
    numbers = [int(hour.timestamp()) // 3600 for hour in hours]
    return (
        spark.range(numbers[0], numbers[-1] + 1)
        .where(F.col("id").isin(numbers))
        .select(
            F.col("id").alias("hour_no"),
            F.timestamp_seconds(F.col("id") * 3600).alias("hour"),
            F.timestamp_seconds((F.col("id") + 1) * 3600).alias("hour_end"),
        )
    )


if __name__ == "__main__":
    main()
