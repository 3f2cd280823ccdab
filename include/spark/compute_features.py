"""Computes one feature group for whole hours: one for the hourly run, all of history for a range step; one SQL.

    spark-submit compute_features.py --bucket B --group G --start ISO --end ISO --sql s3://... [--revision N]

The query sees four views and no clock: ``events`` (each once, seven days back), ``ads_history`` and ``sellers_history``
(with ``valid_from``/``valid_to``), and ``hours`` (``hour_no``, ``hour``, ``hour_end``), which are the hours to compute.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake, registry
from spark import feature_partitions, raw_log, validity
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
    parser.add_argument("--revision", type=int, default=0)
    asked = parser.parse_args(argv)

    group = registry.load().group(asked.group)
    spark = session(f"features {group.name} {asked.start.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    start, end = lake.floor_hour(asked.start), lake.floor_hour(asked.end)
    hours = list(lake.hours(start, end))

    raw_log.events(spark, files, start, end).createOrReplaceTempView("events")
    for table in ("ads", "sellers"):
        validity.history(spark, files, table, end).createOrReplaceTempView(f"{table}_history")
    numbers = spark.range(int(start.timestamp()) // 3600, int(end.timestamp()) // 3600).withColumnRenamed(
        "id", "hour_no"
    )
    numbers.select(
        "hour_no",
        F.timestamp_seconds(F.col("hour_no") * 3600).alias("hour"),
        F.timestamp_seconds((F.col("hour_no") + 1) * 3600).alias("hour_end"),
    ).createOrReplaceTempView("hours")

    query = files.read(asked.sql.removeprefix(files.root))
    for manifest in feature_partitions.write(spark.sql(query), files, group, hours, asked.revision):
        print(f"{group.name} {manifest.hour.isoformat()} rows={manifest.rows} digest={manifest.content_digest[:12]}")


if __name__ == "__main__":
    main()
