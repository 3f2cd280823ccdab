"""Pushes one hour's newest feature rows to the online store that serves them; newer hours win over older ones.

    spark-submit push_features.py --bucket B --store redis|dynamodb --hour ISO
        --redis-host H --redis-port P [--redis-tls] --table T --region R

Refuses an hour that was not validated. Writes ``online/<store>/dt=/hr=/_MANIFEST.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from pyspark.sql import DataFrame

from adrank.contracts import lake, registry
from adrank.contracts.manifests import FeatureManifest, PushManifest
from adrank.online.writer import DynamoDBWriter, OnlineWriter, Pushed, RedisWriter
from spark import feature_manifests, feature_partitions
from spark.lake_files import LakeFiles
from spark.session import session


class NotValidatedError(RuntimeError):
    """The hour has no successful validation."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--store", required=True, choices=("redis", "dynamodb"))
    parser.add_argument("--hour", required=True, type=datetime.fromisoformat)
    parser.add_argument("--redis-host", required=True)
    parser.add_argument("--redis-port", required=True, type=int)
    parser.add_argument("--redis-tls", action="store_true")
    parser.add_argument("--table", required=True)
    parser.add_argument("--region", required=True)
    asked = parser.parse_args(argv)

    spark = session(f"push {asked.store} {asked.hour.isoformat()}")
    files = LakeFiles(spark, asked.bucket)
    groups = registry.load().of_store(asked.store)
    manifests = {group.name: feature_manifests.manifest_of(files, group, asked.hour) for group in groups}
    require_validated(files, asked.hour, manifests.values())
    writer: OnlineWriter = (
        RedisWriter.connect(asked.redis_host, asked.redis_port, asked.redis_tls)
        if asked.store == "redis"
        else DynamoDBWriter.connect(asked.table, asked.region)
    )
    total = Pushed()
    for group in groups:
        rows = feature_partitions.read(spark, files, group, [manifests[group.name]])
        total += writer.push(group, asked.hour + lake.HOUR, values(rows, group.names))
    manifest = PushManifest(
        store=asked.store,
        hour=asked.hour,
        fingerprint=registry.load().fingerprint,
        groups=tuple(group.name for group in groups),
        offered=total.offered,
        written=total.written,
        stale=total.stale,
    )
    files.write(lake.push_manifest(asked.store, asked.hour), manifest.model_dump_json(indent=2))
    print(
        f"{asked.store}: {total.written} of {total.offered} rows written, {total.stale} were older than what is there"
    )


def require_validated(files: LakeFiles, hour: datetime, manifests: Iterable[FeatureManifest]) -> None:
    """Refuse an hour whose validation is missing or failed, or was of other rows than ``manifests`` name now."""
    key = lake.validation(hour) + "results.json"
    if not files.exists(key):
        raise NotValidatedError(f"{files.uri(key)} is missing: the hour was not validated")
    verdict = json.loads(files.read(key))
    if not verdict["success"]:
        raise NotValidatedError(f"{files.uri(key)} says that validation failed: nothing is pushed")
    for manifest in manifests:
        validated = verdict.get("content_digests", {}).get(manifest.group, "none")
        if validated != manifest.content_digest:
            raise NotValidatedError(
                f"{files.uri(key)} is of other rows of {manifest.group}: content {validated[:12]} was validated, "
                f"{manifest.content_digest[:12]} is there now"
            )


def values(rows: DataFrame, names: Sequence[str]) -> Iterator[tuple[str, tuple[float, ...]]]:
    """(entity id, values in packing order); a null is NaN."""
    for row in rows.select("entity_id", *names).toLocalIterator(prefetchPartitions=True):
        yield row[0], tuple(float("nan") if value is None else value for value in row[1:])


if __name__ == "__main__":
    main()
