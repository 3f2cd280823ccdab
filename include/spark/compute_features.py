"""Computes one feature group for whole hours: one for the hourly run, all of history for a range step; one SQL.

    spark-submit compute_features.py --bucket B --group G --start ISO --end ISO --sql s3://.../sql/features/G.sql
        [--revise] [--ignored-column TABLE.COLUMN] [--owner NAME]

A group that counts events first counts each raw hour once (``sql/tiles/G.sql`` beside ``--sql``) and carries its
windows on from the hour before. Its query then sees ``windows``, the views of its other declared inputs
(``ads_history`` and ``sellers_history`` with ``valid_from``/``valid_to``, as far back as it declares) and ``hours``
(``hour_no``, ``hour``, ``hour_end``), which are the hours to compute; and no clock. Which revision the rows become is
:mod:`spark.feature_partitions`' rule; ``--revise`` leaves out the hours of the range that late events did not touch or
that nobody has computed yet. ``--owner`` names the work for whom the group's days are leased.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank import leases
from adrank.contracts import lake, registry
from adrank.contracts.registry import FeatureGroup
from adrank.decisions import lateness
from adrank.decisions.lateness import RawLog
from spark import counting, feature_manifests, feature_partitions, raw_log
from spark.catalogue_views import CatalogueViews
from spark.lake_files import LakeFiles
from spark.session import session
from spark.tiles import Tiles


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
    parser.add_argument("--owner")
    asked = parser.parse_args(argv)
    hours = list(lake.hours(asked.start, lake.floor_hour(asked.end)))
    if not hours:
        parser.error(f"there is no whole hour from {asked.start.isoformat()} to {asked.end.isoformat()}")
    group = registry.load().group(asked.group)
    with leases.held(bucket=asked.bucket, group=group.name, days=hours, owner=asked.owner) as lease:
        _compute(asked, group, hours, lease)


def _compute(asked: argparse.Namespace, group: FeatureGroup, hours: list[datetime], lease: leases.Lease) -> None:
    spark = session(f"features {group.name} {asked.start.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    raws = raw_log.closed_hours(files, lateness.reach_start(hours[0] - lake.HOUR), hours[-1] + lake.HOUR)
    log = RawLog.of(raws)
    if asked.revise:
        hours = lateness.outdated(group, feature_manifests.computed(files, group, hours), log)
        if not hours:
            print(f"{group.name}: late events outdated none of these hours")
            return
    start, end = hours[0], hours[-1] + lake.HOUR
    catalogue = CatalogueViews.of(spark, files, group, asked.ignored_column)
    _hours(spark, hours).createOrReplaceTempView("hours")
    sql = PurePosixPath(asked.sql.removeprefix(files.root))
    query = files.read(str(sql))
    counted = None
    if group.counts is not None:
        tiles = Tiles(spark, files, group, files.read(str(sql.parents[1] / "tiles" / sql.name)), catalogue)
        counted = counting.windows_of(tiles, raws, start, end)
        counted.hourly.createOrReplaceTempView("windows")
    catalogue.show(start - group.looks_back, end)
    manifests = feature_partitions.write(spark.sql(query), files, group, hours, log, lease)
    if counted is not None:
        lease.require_held()
        counted.keep()
    for manifest in manifests:
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
