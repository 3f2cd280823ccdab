"""Feature partitions in the lake: written whole with a manifest, read back by it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake
from adrank.contracts.manifests import FeatureManifest, rows_digest
from adrank.contracts.registry import FeatureGroup
from spark.lake_files import LakeFiles, in_parallel


class PartitionMissingError(RuntimeError):
    """A feature partition that is needed has no manifest."""


class LayoutMismatchError(RuntimeError):
    """A feature partition was written against another feature layout."""


def write(
    features: DataFrame, files: LakeFiles, group: FeatureGroup, hours: Sequence[datetime], revision: int
) -> list[FeatureManifest]:
    """Replace the partitions of ``hours`` by the rows of ``features`` and return their manifests.

    :param features: ``hour`` (its start), ``entity_id`` and the group's features by name.
    """
    prefix = f"features/{group.name}/"

    def withdraw(hour: datetime) -> None:
        files.delete(lake.features_manifest(group.name, hour, revision))
        files.delete(lake.features(group.name, hour, revision).rstrip("/"))

    in_parallel(withdraw, hours)
    rows = (
        features.select(
            F.col("entity_id"),
            (F.col("hour") + F.expr("INTERVAL 1 HOUR")).alias("feature_time"),
            (F.col("hour") + F.expr(f"INTERVAL {60 + group.lag_minutes} MINUTES")).alias("available_at"),
            *(F.col(name).cast("float").alias(name) for name in group.names),
            F.date_format("hour", "yyyy-MM-dd").alias("dt"),
            F.date_format("hour", "HH").alias("hr"),
            F.lit(f"{revision:03d}").alias("rev"),
        )
        .repartition("dt", "hr")
        .sortWithinPartitions("dt", "hr", "entity_id")
    )
    # A dynamic overwrite stages under a name of its own. An append would share `_temporary` with every other step of
    # the group, and its commit would take in what a killed one had left there.
    (
        rows.write.mode("overwrite")
        .option("partitionOverwriteMode", "dynamic")
        .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .partitionBy("dt", "hr", "rev")
        .parquet(files.uri(prefix))
    )
    listed = in_parallel(lambda hour: _data_files(files, group, hour, revision), hours)
    written = dict(zip(hours, listed, strict=True))
    spark = features.sparkSession
    digests = _digests(spark, files, group, [hour for hour in hours if written[hour]], revision)

    def publish(hour: datetime) -> FeatureManifest:
        count, digest = digests.get(hour, (0, rows_digest(())))
        manifest = FeatureManifest(
            group=group.name,
            hour=hour,
            revision=revision,
            available_at=hour + lake.HOUR + timedelta(minutes=group.lag_minutes),
            fingerprint=group.fingerprint,
            rows=count,
            content_digest=digest,
            files=tuple(written[hour]),
        )
        files.write(lake.features_manifest(group.name, hour, revision), manifest.model_dump_json(indent=2))
        return manifest

    return in_parallel(publish, hours)


def manifest_of(files: LakeFiles, group: FeatureGroup, hour: datetime, revision: int = 0) -> FeatureManifest:
    """The manifest of one partition, refused when it was written against another layout."""
    key = lake.features_manifest(group.name, hour, revision)
    if not files.exists(key):
        raise PartitionMissingError(f"{files.uri(key)} is missing: features of {hour.isoformat()} were not computed")
    manifest = FeatureManifest.model_validate_json(files.read(key))
    if manifest.fingerprint != group.fingerprint:
        raise LayoutMismatchError(
            f"{files.uri(key)} has layout {manifest.fingerprint[:12]}, group {group.name} is {group.fingerprint[:12]}"
        )
    return manifest


def manifests_of(files: LakeFiles, group: FeatureGroup, hours: Sequence[datetime]) -> list[FeatureManifest]:
    """The manifests of ``hours``, in order."""
    return in_parallel(lambda hour: manifest_of(files, group, hour), hours)


def read(spark: SparkSession, files: LakeFiles, group: FeatureGroup, manifests: Sequence[FeatureManifest]) -> DataFrame:
    """What ``manifests`` name: ``entity_id, feature_time, available_at`` and the group's features, in that order."""
    named = [files.uri(lake.features(group.name, m.hour, m.revision) + name) for m in manifests for name in m.files]
    columns = ["entity_id string", "feature_time timestamp", "available_at timestamp"]
    schema = ", ".join([*columns, *(f"{name} float" for name in group.names)])
    return spark.read.schema(schema).parquet(*named) if named else spark.createDataFrame([], schema)


def _data_files(files: LakeFiles, group: FeatureGroup, hour: datetime, revision: int) -> list[str]:
    names = files.names(lake.features(group.name, hour, revision))
    return [name for name in names if name.endswith(".parquet")]


def _digests(
    spark: SparkSession, files: LakeFiles, group: FeatureGroup, hours: Sequence[datetime], revision: int
) -> dict[datetime, tuple[int, str]]:
    """(rows, content digest) of partitions as they lie in the lake, as :func:`rows_digest` defines it."""
    if not hours:
        return {}
    folders = [files.uri(lake.features(group.name, hour, revision)) for hour in hours]
    landed = spark.read.option("basePath", files.uri(f"features/{group.name}/")).parquet(*folders)
    row = F.sha2(F.concat_ws("|", *(_canonical(name) for name in ("entity_id", "feature_time", *group.names))), 256)
    per_hour = (
        landed.groupBy("feature_time")
        .agg(F.count("*").alias("rows"), F.sha2(F.array_join(F.array_sort(F.collect_list(row)), ""), 256).alias("d"))
        .select(F.unix_timestamp("feature_time").alias("seconds"), "rows", "d")
    )
    ends = {int((hour + lake.HOUR).timestamp()): hour for hour in hours}
    return {ends[found["seconds"]]: (found["rows"], found["d"]) for found in per_hour.collect()}


def _canonical(name: str) -> Column:
    return F.coalesce(F.col(name).cast("string"), F.lit("null"))
