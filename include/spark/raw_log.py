"""The raw log as a view: the closed hours that a window needs, each event once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest
from spark.lake_files import LakeFiles

#: How far the longest window looks back from the end of an hour.
LOOK_BACK: Final = timedelta(hours=168)
EVENTS_SCHEMA: Final = (
    "event_id string, event_type string, event_time timestamp, ingest_time timestamp, ad_id string, revenue double"
)


class HourNotReadyError(RuntimeError):
    """A raw hour that is needed has no manifest."""


class RawHourTornError(RuntimeError):
    """A raw hour does not hold what its manifest says."""


def events(spark: SparkSession, files: LakeFiles, start: datetime, end: datetime) -> DataFrame:
    """Events of ``[start - 167 h, end)``, one row per ``event_id``.

    :raises HourNotReadyError: an hour in ``[start, end)`` is not closed, or one before it is missing from the middle
        of the log; hours before the first landed one are empty.
    :raises RawHourTornError: files hold another number of rows than the manifests promise.
    """
    manifests = _closed_hours(files, start, end)
    named = [(lake.raw_events(m.hour) + file.name, file.rows) for m in manifests for file in m.files]
    if not named:
        return spark.createDataFrame([], EVENTS_SCHEMA)
    log = spark.read.schema(EVENTS_SCHEMA).parquet(*(files.uri(key) for key, _ in named))
    landed, promised = log.count(), sum(rows for _, rows in named)
    if landed != promised:
        raise RawHourTornError(f"raw hours up to {end.isoformat()} hold {landed} rows, their manifests say {promised}")
    row = F.struct("event_time", "event_type", "ad_id", "revenue")
    return log.groupBy("event_id").agg(F.min(row).alias("row")).select("event_id", "row.*")


def _closed_hours(files: LakeFiles, start: datetime, end: datetime) -> list[RawManifest]:
    hours = list(lake.hours(start - LOOK_BACK + lake.HOUR, end))
    closed = [hour for hour in hours if files.exists(lake.raw_events_manifest(hour))]
    first = closed[0] if closed else end
    missing = [hour for hour in hours if hour not in set(closed) and hour >= min(first, start)]
    if missing:
        raise HourNotReadyError(
            f"no {lake.MANIFEST} for {len(missing)} raw hour(s), the first of them {missing[0].isoformat()}"
        )
    return [RawManifest.model_validate_json(files.read(lake.raw_events_manifest(hour))) for hour in closed]
