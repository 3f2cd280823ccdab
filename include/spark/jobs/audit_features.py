"""Reads an hour's features back from the online stores and compares them with the offline partition, bit for bit.

Of each group: ``sample`` rows of the hour's newest revision, chosen by a hash of entity and hour, through the reader
that serves; as many keys met in the store, which must have a row or be the defaults; and as many of the rows that the
endpoints served for requests of that hour. What a later hour has pushed meanwhile is not compared. Writes
``audit/dt=/hr=/results.json`` and CloudWatch metrics. A skew is a result, not a failure of the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import boto3
from pyspark.sql import DataFrame, SparkSession

from adrank.contracts import lake, metrics, registry
from adrank.contracts.manifests import AuditManifest, FeatureAudit, FeatureManifest, GroupAudit
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR
from adrank.decisions import consistency
from adrank.online.comparison import compare, entities_where, extra
from spark.lake import feature_manifests, feature_partitions
from spark.lake.files import LakeFiles, in_parallel
from spark.online import stored_rows
from spark.online.served_rows import ServedRows
from spark.online.stored_rows import StoredRows

_MAX_EXAMPLES: Final = 10
#: Metrics that one request to CloudWatch may carry.
_MAX_BATCH: Final = 1000


def audit(
    spark: SparkSession,
    files: LakeFiles,
    hour: datetime,
    stores: StoredRows,
    sample: int,
    max_skew: float,
    region: str,
) -> str:
    """Compare, publish what is found, and say whether the stores are consistent."""
    served = ServedRows(spark, files, hour)
    met, cursors = stores.scan(sample, _cursors(files, hour))

    def of_group(group: FeatureGroup) -> GroupAudit:
        manifest = feature_manifests.manifest_of(files, group, hour)
        rows = feature_partitions.read(spark, files, group, [manifest])
        stored = _stored(stores, rows, manifest, met.get(group.name, []), sample)
        return stored.model_copy(update={"served": served.audit(group, sample)})

    found = in_parallel(of_group, registry.load().groups)
    verdict = consistency.judge(found, max_skew)
    results = AuditManifest(
        hour=hour,
        fingerprint=registry.load().fingerprint,
        max_skew=max_skew,
        consistent=verdict.consistent,
        skew=verdict.skew,
        reasons=verdict.reasons,
        groups=tuple(found),
        cursors=cursors,
    )
    files.write(lake.audit(hour), results.model_dump_json(indent=2))
    publish_metrics(boto3.client("cloudwatch", region_name=region), results)
    return "; ".join([f"consistent: {verdict.consistent}, skew {verdict.skew:.2%}", *verdict.reasons])


def _stored(
    stores: StoredRows, rows: DataFrame, manifest: FeatureManifest, met: Sequence[str], sample: int
) -> GroupAudit:
    """One group: a sample of the partition ``rows``, and the entities ``met`` in the store."""
    group, end = registry.load().group(manifest.group), manifest.hour + HOUR
    entities, offline = stored_rows.sample(rows, group, sample, int(end.timestamp()))
    compared = compare(offline, stores.rows(group, entities, end), end.timestamp())
    unknown = stored_rows.without_row(rows, met)
    extras = entities_where(unknown, extra(group, stores.rows(group, unknown, end), end.timestamp()))
    kinds = {
        "missing": compared.missing,
        "other_layout": compared.other_layout,
        "stale": compared.stale,
        "mismatched": compared.mismatched,
    }
    examples = [
        f"{entity}: {kind}" for kind, mask in kinds.items() for entity in entities_where(entities, mask)[:_MAX_EXAMPLES]
    ]
    differing = compared.differing.sum(axis=0)
    return GroupAudit(
        group=group.name,
        rows=manifest.rows,
        sampled=len(entities),
        newer=int(compared.newer.sum()),
        **{kind: int(mask.sum()) for kind, mask in kinds.items()},
        scanned=len(met),
        extra=len(extras),
        features={
            name: FeatureAudit(mismatched=int(differing[column]), smape=float(compared.smape[column]))
            for column, name in enumerate(group.names)
        },
        examples=(*examples, *(f"{entity}: extra" for entity in extras[:_MAX_EXAMPLES])),
    )


def _cursors(files: LakeFiles, hour: datetime) -> dict[str, str]:
    """Where the audit of the hour before stopped meeting keys."""
    before = files.load(lake.audit(hour - HOUR), AuditManifest)
    return before.cursors if before else {}


def publish_metrics(cloudwatch: Any, audit: AuditManifest) -> None:
    """Put the metrics of all groups, stamped when they arrive: CloudWatch takes none that are far from its clock."""
    data = [datum for group in audit.groups for datum in _data(group)]
    for start in range(0, len(data), _MAX_BATCH):
        cloudwatch.put_metric_data(Namespace=metrics.FEATURES_NAMESPACE, MetricData=data[start : start + _MAX_BATCH])


def _data(group: GroupAudit) -> Iterator[dict[str, Any]]:
    counts = {
        metrics.ONLINE_COMPARED: group.compared,
        metrics.ONLINE_MISMATCHED: group.mismatched,
        metrics.ONLINE_MISSING: group.missing,
        metrics.ONLINE_STALE: group.stale + group.other_layout,
        metrics.ONLINE_EXTRA: group.extra,
        metrics.SERVED_COMPARED: group.served.compared,
        metrics.SERVED_MISMATCHED: group.served.mismatched,
        metrics.SERVED_DEFAULTS: group.served.defaults,
        metrics.SERVED_UNKNOWN: group.served.unknown,
    }
    of_group = (("Group", group.group),)
    for name, count in counts.items():
        yield _datum(name, count, "Count", of_group)
    yield _datum(metrics.ONLINE_SKEW, consistency.judge([group], 1).skew, "None", of_group)
    for feature, found in group.features.items():
        yield _datum(metrics.FEATURE_SMAPE, found.smape, "None", (*of_group, ("Feature", feature)))


def _datum(name: str, value: float, unit: str, dimensions: Sequence[tuple[str, str]]) -> dict[str, Any]:
    listed = [{"Name": key, "Value": text} for key, text in dimensions]
    return {"MetricName": name, "Dimensions": listed, "Value": value, "Unit": unit}
