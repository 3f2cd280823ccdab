"""What is in the lake and the online stores: raw hours, which are waited for, and what the feature runs left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import redis

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.settings import Settings
from adrank.storage.object_store import ObjectStore
from demo.report.record import Features
from stack.stall import ProgressWatch

_READERS: Final = 16
_POLL_SECONDS: Final = 0.5


def wait_for_raw_hours(store: ObjectStore, keys: Sequence[str], watch: ProgressWatch) -> None:
    """Return when every key is there.

    Raises:
        StalledError: neither they nor what ``watch`` looks at moves; the message names what is missing.
    """
    while missing := [key for key in keys if next(store.keys(key), None) != key]:
        watch.note("an hour", missing)
        watch.require_progress(f"not closed: {', '.join(missing)}; see the logs of archiver and capture")
        time.sleep(_POLL_SECONDS)


def describe_raw_hours(store: ObjectStore, start: datetime, end: datetime) -> str:
    """Rows, files and late rows of the hours in ``[start, end)``, in words."""
    found = [store.get(lake.RAW_EVENTS.manifest(hour)) for hour in timestamps.hours(start, end)]
    manifests = [RawManifest.model_validate_json(body) for body in found]
    rows, late = sum(m.rows for m in manifests), sum(m.late_rows for m in manifests)
    return f"{rows:,} rows in {sum(len(m.files) for m in manifests)} files, {late:,} of them late"


def count_features(settings: Settings, store: ObjectStore, dynamodb: Any) -> Features:
    """Whole hours, their rows over all groups, and what is online."""
    manifests = list(_manifests(store))
    online = settings.online
    rows = redis.Redis(online.redis_host, online.redis_port, ssl=online.redis_tls)
    return Features(
        hours=len({manifest.hour for manifest in manifests}),
        offline_rows=sum(manifest.rows for manifest in manifests),
        redis_keys=sum(1 for _ in rows.scan_iter(match="f:*", count=5000)),
        dynamodb_items=_items(dynamodb, online.features_table),
    )


def _manifests(store: ObjectStore) -> Iterator[FeatureManifest]:
    keys = [
        key
        for group in registry.load().groups
        for key in store.keys(lake.FEATURES(group.name).prefix)
        if key.endswith(lake.MANIFEST)
    ]
    with ThreadPoolExecutor(_READERS) as readers:
        yield from map(FeatureManifest.model_validate_json, readers.map(store.get, keys))


def _items(dynamodb: Any, table: str) -> int:
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table, Select="COUNT", FilterExpression="attribute_exists(packed)"
    )
    return sum(int(page["Count"]) for page in pages)
