"""The rows that a push has to write: what differs from the partition that the store holds, and what is due."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts.manifests import FeatureManifest, PushedHour
from adrank.contracts.registry import FeatureGroup
from adrank.online.push_state import REFRESH_SLICES, PushPlan
from spark.lake import feature_manifests, feature_partitions
from spark.lake.files import LakeFiles

#: Why a row is written.
CHANGED: Final = "changed"
REFRESHED: Final = "refreshed"
VANISHED: Final = "vanished"
REASONS: Final = (CHANGED, REFRESHED, VANISHED)


@dataclass(frozen=True)
class Delta:
    """One group's partition, the one that the store holds (None: all rows are to be written), and earlier ones
    whose entities may be in the store yet."""

    group: FeatureGroup
    now: FeatureManifest
    due: frozenset[int]
    base: FeatureManifest | None
    before: tuple[FeatureManifest, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no row can come of it."""
        return not any(m.files for m in (self.now, *self.before, *([self.base] if self.base else [])))


def delta(files: LakeFiles, group: FeatureGroup, now: FeatureManifest, plan: PushPlan) -> Delta:
    """Find a group's partitions that the plan names. A base of another layout or content is no base."""
    base = None if plan.base is None else _partition(files, group, plan.base)
    if plan.base is not None and base is not None and _is_base(base, group, plan.base):
        return Delta(group, now, plan.due, base, ())
    pushes = plan.before if plan.base is None else (plan.base, *plan.before)
    found = (_partition(files, group, push) for push in pushes)
    return Delta(group, now, frozenset(range(REFRESH_SLICES)), None, tuple(m for m in found if m is not None))


def rows(spark: SparkSession, files: LakeFiles, delta: Delta, *, parallel: bool) -> DataFrame:
    """``why, entity_id`` and the group's features (float32) of the rows to write; a null is missing.

    A partition is one file, which one task reads; ``parallel`` gives every core its share of what is written in full.
    """
    group = delta.group
    current = feature_partitions.read(spark, files, group, [delta.now]).select("entity_id", *group.names)
    if delta.base is not None:
        base = feature_partitions.read(spark, files, group, [delta.base])
        return _different(group, current, base, delta.due)
    everything = current.select(F.lit(CHANGED).alias("why"), "*")
    if parallel:
        everything = everything.repartition(spark.sparkContext.defaultParallelism)
    if not delta.before:
        return everything
    # Of whatever layout they are, their entities are read alike.
    before = files.read_parquet(spark, feature_manifests.data_files(delta.before), "entity_id string").distinct()
    gone = before.join(current, "entity_id", "left_anti")
    return everything.unionByName(gone.select(F.lit(VANISHED).alias("why"), "entity_id", *_defaults(group)))


def _different(group: FeatureGroup, current: DataFrame, base: DataFrame, due: frozenset[int]) -> DataFrame:
    here = current.select("entity_id", F.lit(True).alias("here"), *group.names)
    held = base.select(
        "entity_id", F.lit(True).alias("held"), *(F.col(name).alias(f"held_{name}") for name in group.names)
    )
    changed = reduce(or_, (~_same(F.col(name), F.col(f"held_{name}")) for name in group.names))
    why = (
        F.when(F.col("here").isNull(), VANISHED)
        .when(F.col("held").isNull() | changed, CHANGED)
        .when(_is_due(due), REFRESHED)
    )
    values = (
        F.when(F.col("here").isNull(), default).otherwise(F.col(name)).alias(name)
        for name, default in zip(group.names, _defaults(group), strict=True)
    )
    joined = here.join(held, "entity_id", "full_outer")
    return joined.select(why.alias("why"), "entity_id", *values).where("why IS NOT NULL")


def _same(one: Column, other: Column) -> Column:
    """As they are packed: a null is NaN, and NaN is NaN."""
    missing = F.lit(float("nan")).cast("float")
    return F.coalesce(one, missing).eqNullSafe(F.coalesce(other, missing))


def _is_due(due: frozenset[int]) -> Column:
    return F.pmod(F.crc32(F.col("entity_id")), F.lit(REFRESH_SLICES)).isin(*sorted(due))


def _defaults(group: FeatureGroup) -> list[Column]:
    return [F.lit(feature.default_value).cast("float").alias(feature.name) for feature in group.features]


def _partition(files: LakeFiles, group: FeatureGroup, push: PushedHour) -> FeatureManifest | None:
    """What lies where a push took its rows of the group from."""
    pushed = push.partition(group.name)
    return None if pushed is None else feature_manifests.revision_of(files, group, push.hour, pushed.revision)


def _is_base(partition: FeatureManifest, group: FeatureGroup, push: PushedHour) -> bool:
    pushed = push.partition(group.name)
    return (
        pushed is not None
        and partition.content_digest == pushed.content_digest
        and partition.fingerprint == pushed.fingerprint == group.fingerprint
    )
