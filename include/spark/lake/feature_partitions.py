"""Feature partitions in the lake: written whole with a manifest, read back by it.

One rule says where an hour's rows go, in the hourly run, in a revision after late events and in a backfill:

- The raw log is what the newest revision was computed from: that revision is replaced, by the same content unless the
  definition of the group changed.
- Late events changed it: what training may have seen stays, and the rows become the next revision; unless they are the
  same rows, in which case the newest revision's manifest just notes the state of the log.
- The group's layout changed: nothing can read the old revisions any more, and the hour begins again at revision 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import FeatureManifest, rows_digest
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR, micros
from adrank.decisions import lateness
from adrank.decisions.lateness import RawLog
from adrank.storage.leases import Lease
from spark.lake import feature_manifests
from spark.lake.files import LakeFiles, in_parallel


@dataclass(frozen=True)
class _Target:
    """Where an hour's rows go. ``replaces`` is the newest revision, where this would be the one after it."""

    hour: datetime
    revision: int
    available_at: datetime
    raw_state: str
    replaces: FeatureManifest | None


def write(
    features: DataFrame,
    files: LakeFiles,
    group: FeatureGroup,
    hours: Sequence[datetime],
    log: RawLog,
    lease: Lease,
) -> list[FeatureManifest]:
    """Write the rows of ``hours`` and return the manifests that now are the newest.

    :param features: ``hour`` (its start), ``entity_id`` and the group's features by name.
    :param log: what ``features`` were computed from.
    :param lease: on the days of ``hours``.
    :raises LeaseLostError: somebody else may write these hours by now; nothing is published, and what was there before
        is only touched if the lease was lost after that began.
    """
    spark = features.sparkSession
    targets = in_parallel(lambda hour: _target(files, group, hour, log), hours)
    lease.require_held()
    in_parallel(lambda target: _clear(files, group, target), targets)
    rows = (
        features.join(F.broadcast(_stamps(spark, targets)), "hour")
        .select(
            F.col("entity_id"),
            (F.col("hour") + F.expr("INTERVAL 1 HOUR")).alias("feature_time"),
            F.col("available_at"),
            *(F.col(name).cast("float").alias(name) for name in group.names),
            F.date_format("hour", "yyyy-MM-dd").alias("dt"),
            F.date_format("hour", "HH").alias("hr"),
            F.col("rev"),
        )
        .repartition("dt", "hr")
        .sortWithinPartitions("dt", "hr", "entity_id")
    )
    lease.require_held()
    files.overwrite_partitions(rows, lake.FEATURES(group.name).prefix, "dt", "hr", "rev")
    listed = in_parallel(lambda target: files.parquet_files(_folder(group, target)), targets)
    written = {target.hour: names for target, names in zip(targets, listed, strict=True)}
    digests = _digests(spark, files, group, [target for target in targets if written[target.hour]])
    lease.require_held()

    def publish(target: _Target) -> FeatureManifest:
        count, digest = digests.get(target.hour, (0, rows_digest(())))
        if target.replaces is not None and target.replaces.content_digest == digest:
            files.delete(_folder(group, target))
            manifest = target.replaces.model_copy(update={"raw_state": target.raw_state})
        else:
            manifest = FeatureManifest(
                group=group.name,
                hour=target.hour,
                revision=target.revision,
                available_at=target.available_at,
                fingerprint=group.fingerprint,
                rows=count,
                content_digest=digest,
                files=written[target.hour],
                raw_state=target.raw_state,
            )
        key = lake.FEATURES(group.name).manifest(manifest.hour, manifest.revision)
        files.write(key, manifest.model_dump_json(indent=2))
        return manifest

    return in_parallel(publish, targets)


def read(spark: SparkSession, files: LakeFiles, group: FeatureGroup, manifests: Sequence[FeatureManifest]) -> DataFrame:
    """What ``manifests`` name: ``entity_id, feature_time, available_at`` and the group's features, in that order."""
    columns = ["entity_id string", "feature_time timestamp", "available_at timestamp"]
    schema = ", ".join([*columns, *(f"{name} float" for name in group.names)])
    return files.read_parquet(spark, feature_manifests.data_files(manifests), schema)


def _target(files: LakeFiles, group: FeatureGroup, hour: datetime, log: RawLog) -> _Target:
    newest = feature_manifests.newest(files, group, hour)
    if newest is None or newest.fingerprint != group.fingerprint:
        revision, before, replaces = 0, None, None
    elif log.still_matches(group, newest):
        revision, replaces = newest.revision, None
        before = feature_manifests.revision_of(files, group, hour, revision - 1) if revision else None
    else:
        revision, before, replaces = newest.revision + 1, newest, newest
    available = lateness.available_at(group, hour, log, before)
    return _Target(hour, revision, available, log.state(group, hour), replaces)


def _clear(files: LakeFiles, group: FeatureGroup, target: _Target) -> None:
    """Withdraw what is there from the target's revision on, newest first, manifests before data."""
    for revision in reversed(feature_manifests.revisions(files, group, target.hour)):
        if revision >= target.revision:
            folder = lake.FEATURES(group.name).revision(target.hour, revision)
            files.withdraw(folder + lake.MANIFEST, folder)


def _stamps(spark: SparkSession, targets: Sequence[_Target]) -> DataFrame:
    """``hour, rev, available_at`` of each target."""
    rows = (f"({micros(target.hour)}, '{target.revision:03d}', {micros(target.available_at)})" for target in targets)
    return spark.sql(
        "SELECT timestamp_micros(hour) AS hour, rev, timestamp_micros(available) AS available_at "  # noqa: S608
        f"FROM VALUES {', '.join(rows)} AS stamps(hour, rev, available)"
    )


def _folder(group: FeatureGroup, target: _Target) -> str:
    return lake.FEATURES(group.name).revision(target.hour, target.revision)


def _digests(
    spark: SparkSession, files: LakeFiles, group: FeatureGroup, targets: Sequence[_Target]
) -> dict[datetime, tuple[int, str]]:
    """(rows, content digest) of partitions as they lie in the lake, as :func:`rows_digest` defines it."""
    if not targets:
        return {}
    folders = [files.uri(_folder(group, target)) for target in targets]
    landed = spark.read.option("basePath", files.uri(lake.FEATURES(group.name).prefix)).parquet(*folders)
    row = F.sha2(F.concat_ws("|", *(_canonical(name) for name in ("entity_id", "feature_time", *group.names))), 256)
    per_hour = (
        landed.groupBy("feature_time")
        .agg(F.count("*").alias("rows"), F.sha2(F.array_join(F.array_sort(F.collect_list(row)), ""), 256).alias("d"))
        .select(F.unix_timestamp("feature_time").alias("seconds"), "rows", "d")
    )
    ends = {int((target.hour + HOUR).timestamp()): target.hour for target in targets}
    return {ends[found["seconds"]]: (found["rows"], found["d"]) for found in per_hour.collect()}


def _canonical(name: str) -> Column:
    return F.coalesce(F.col(name).cast("string"), F.lit("null"))
