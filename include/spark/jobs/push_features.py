"""Brings an online store to one hour's newest feature rows; newer hours win over older ones.

    spark-submit push_features.py --bucket B --store redis|dynamodb --hour ISO
        --redis-host H --redis-port P [--redis-tls] --table T --region R [--retry-seconds N] [--full]

Writes what differs from what the store holds by its own account (:mod:`adrank.online.push_state`), from where the rows
are. A store that is full, throttles or is away is waited for, ``--retry-seconds`` in all. Refuses an hour that was
not validated, and a Redis that evicts rows when it is full. Writes ``online/<store>/dt=/hr=/_MANIFEST.json`` when all
is there. ``--full`` writes every row even so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime

from pyspark.sql import SparkSession

from adrank.contracts import lake, registry
from adrank.contracts.entry_points.features import PushFeatures
from adrank.contracts.manifests import FeatureManifest, PushedHour, PushManifest
from adrank.contracts.registry import Store
from adrank.online import push_state as states
from adrank.online.push_state import StoreState
from adrank.online.writer import DynamoDBAddress, RedisAddress, StoreAddress
from adrank.runtime.retry import RetryUntil
from spark.application.session import session
from spark.lake import feature_manifests
from spark.lake.files import LakeFiles
from spark.online.push import Push, PushResult, pushed_hour


class NotValidatedError(RuntimeError):
    """The hour has no successful validation."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step."""
    args = PushFeatures.parse(argv)
    address: StoreAddress = (
        RedisAddress(args.redis_host, args.redis_port, args.redis_tls)
        if args.store == "redis"
        else DynamoDBAddress(args.table, args.region)
    )
    spark = session(f"push {args.store} {args.hour.isoformat()}")
    files = LakeFiles(spark, args.bucket)
    retry = RetryUntil.for_seconds(args.retry_seconds)
    print(push(spark, files, args.store, args.hour, address, retry, full=args.full))


def push(
    spark: SparkSession,
    files: LakeFiles,
    store: Store,
    hour: datetime,
    address: StoreAddress,
    retry: RetryUntil,
    *,
    full: bool = False,
) -> str:
    """Bring the store to the hour and say what was written.

    :raises NotValidatedError: the hour's validation is missing, failed, or was of other rows.
    """
    groups = registry.load().in_store(store)
    manifests = {group.name: feature_manifests.manifest_of(files, group, hour) for group in groups}
    require_validated(files, hour, manifests.values())
    wanted = pushed_hour(hour, manifests.values())
    work = Push(spark, files, address, retry, groups, manifests, wanted)
    key = lake.PUSHES(store).manifest(hour)
    with closing(address.open(retry)) as writer:
        writer.require_no_eviction()
        state = writer.state()
        later = states.superseded_by(state, wanted)
        if later is None and not full and _is_done(files, key, state, wanted):
            return f"{store}: all of {hour.isoformat()} is there already"
        pushed = PushResult(base=None) if later else work.run(writer, full=full)
    rows = sum(manifest.rows for manifest in manifests.values())
    manifest = PushManifest(
        store=store,
        hour=hour,
        fingerprint=registry.load().fingerprint,
        groups=tuple(group.name for group in groups),
        offered=rows if later else pushed.offered,
        written=pushed.written,
        stale=rows if later else pushed.offered - pushed.written,
        partitions=wanted.partitions,
        base=pushed.base,
        changed=pushed.changed,
        refreshed=pushed.refreshed,
        vanished=pushed.vanished,
        superseded_by=later,
    )
    files.write(key, manifest.model_dump_json(indent=2))
    return _summary(manifest, rows)


def require_validated(files: LakeFiles, hour: datetime, manifests: Iterable[FeatureManifest]) -> None:
    """Refuse an hour whose validation is missing or failed, or was of other rows than ``manifests`` name now."""
    key = lake.VALIDATION.hour(hour) + "results.json"
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


def _is_done(files: LakeFiles, key: str, state: StoreState | None, wanted: PushedHour) -> bool:
    """Whether the store holds the hour, and the manifest tells how it came there."""
    if state is None or state.complete != wanted or state.begun:
        return False
    manifest = files.load(key, PushManifest)
    return manifest is not None and manifest.partitions == wanted.partitions


def _summary(manifest: PushManifest, rows: int) -> str:
    if manifest.superseded_by:
        return f"{manifest.store}: nothing written, the store is at {manifest.superseded_by.isoformat()} already"
    than = f"than at {manifest.base.isoformat()}" if manifest.base else "as nothing is known of the store's rows"
    return (
        f"{manifest.store}: {manifest.written} rows written of an hour of {rows}: {manifest.changed} new or other "
        f"{than}, {manifest.refreshed} due again, {manifest.vanished} vanished; {manifest.stale} were older than what "
        "is there"
    )


if __name__ == "__main__":
    main()
