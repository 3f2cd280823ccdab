"""Reads an hour's features back from the online stores and compares them with the offline partition, bit for bit.

    spark-submit audit_features.py --bucket B --hour ISO --redis-host H --redis-port P [--redis-tls] --table T
        --region R [--sample N] [--max-skew X]

Of each group: N rows of the hour's newest revision, chosen by a hash of entity and hour, through the reader that
serves; N keys met in the store, which must have a row or be the defaults; and N of the rows that the endpoints served
for requests of that hour. What a later hour has pushed meanwhile is not compared. Writes
``audit/dt=/hr=/results.json`` and CloudWatch metrics. A skew is a result, not a failure of the step.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Final

import boto3
from pyspark.sql import DataFrame

from adrank.contracts import lake, registry
from adrank.contracts.manifests import AuditManifest, FeatureAudit, FeatureManifest, GroupAudit
from adrank.decisions import consistency
from adrank.online.comparison import compare, extra, names_of
from spark import audit_metrics, feature_manifests, feature_partitions
from spark.audited_stores import AuditedStores
from spark.lake_files import LakeFiles
from spark.sampled_rows import absent, sampled
from spark.served_rows import ServedRows
from spark.session import session

_EXAMPLES: Final = 10


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--hour", required=True, type=datetime.fromisoformat)
    parser.add_argument("--redis-host", required=True)
    parser.add_argument("--redis-port", required=True, type=int)
    parser.add_argument("--redis-tls", action="store_true")
    parser.add_argument("--table", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--sample", type=int, default=5000)
    parser.add_argument("--max-skew", type=float, default=0.01)
    asked = parser.parse_args(argv)

    spark = session(f"audit {asked.hour.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    served = ServedRows(spark, files, asked.hour)
    where = (asked.redis_host, asked.redis_port, asked.redis_tls, asked.table, asked.region)
    with closing(AuditedStores(*where)) as stores:
        met, cursors = stores.scan(asked.sample, _cursors(files, asked.hour))
        found = []
        for group in registry.load().groups:
            manifest = feature_manifests.manifest_of(files, group, asked.hour)
            rows = feature_partitions.read(spark, files, group, [manifest])
            stored = _stored(stores, rows, manifest, met.get(group.name, []), asked.sample)
            found.append(stored.model_copy(update={"served": served.audit(group, asked.sample)}))
    verdict = consistency.judge(found, asked.max_skew)
    audit = AuditManifest(
        hour=asked.hour,
        fingerprint=registry.load().fingerprint,
        max_skew=asked.max_skew,
        consistent=verdict.consistent,
        skew=verdict.skew,
        reasons=verdict.reasons,
        groups=tuple(found),
        cursors=cursors,
    )
    files.write(lake.audit(asked.hour), audit.model_dump_json(indent=2))
    audit_metrics.publish(boto3.client("cloudwatch", region_name=asked.region), audit)
    print("\n".join([f"consistent: {verdict.consistent}, skew {verdict.skew:.2%}", *verdict.reasons]))


def _stored(
    stores: AuditedStores, rows: DataFrame, manifest: FeatureManifest, met: Sequence[str], sample: int
) -> GroupAudit:
    """One group: a sample of the partition ``rows``, and the entities ``met`` in the store."""
    group, end = registry.load().group(manifest.group), manifest.hour + lake.HOUR
    entities, offline = sampled(rows, group, sample, int(end.timestamp()))
    compared = compare(offline, stores.rows(group, entities, end), end.timestamp())
    unknown = absent(rows, met)
    extras = names_of(unknown, extra(group, stores.rows(group, unknown, end), end.timestamp()))
    kinds = {
        "missing": compared.missing,
        "other_layout": compared.other_layout,
        "stale": compared.stale,
        "mismatched": compared.mismatched,
    }
    examples = [f"{entity}: {kind}" for kind, mask in kinds.items() for entity in names_of(entities, mask)[:_EXAMPLES]]
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
        examples=(*examples, *(f"{entity}: extra" for entity in extras[:_EXAMPLES])),
    )


def _cursors(files: LakeFiles, hour: datetime) -> dict[str, str]:
    """Where the audit of the hour before stopped meeting keys."""
    key = lake.audit(hour - lake.HOUR)
    return AuditManifest.model_validate_json(files.read(key)).cursors if files.exists(key) else {}


if __name__ == "__main__":
    main()
