"""Counts what the feature runs left: partitions in the lake, entries in the online stores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from adrank.contracts import lake, registry
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.settings import Settings
from demo.report.record import Features

_READERS: Final = 16


def count(settings: Settings, s3: Any, dynamodb: Any, redis: Any) -> Features:
    """Whole hours, their rows over all groups, and what is online."""
    manifests = list(_manifests(s3, settings.lake.bucket))
    return Features(
        hours=len({manifest.hour for manifest in manifests}),
        offline_rows=sum(manifest.rows for manifest in manifests),
        redis_keys=sum(1 for _ in redis.scan_iter(match="f:*", count=5000)),
        dynamodb_items=_items(dynamodb, settings.online.features_table),
    )


def _manifests(s3: Any, bucket: str) -> Iterator[FeatureManifest]:
    pages = s3.get_paginator("list_objects_v2")
    keys = [
        item["Key"]
        for group in registry.load().groups
        for page in pages.paginate(Bucket=bucket, Prefix=lake.features_of(group.name))
        for item in page.get("Contents", ())
        if item["Key"].endswith(lake.MANIFEST)
    ]
    with ThreadPoolExecutor(_READERS) as readers:
        bodies = readers.map(lambda key: s3.get_object(Bucket=bucket, Key=key)["Body"].read(), keys)
        yield from map(FeatureManifest.model_validate_json, bodies)


def _items(dynamodb: Any, table: str) -> int:
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table, Select="COUNT", FilterExpression="attribute_exists(packed)"
    )
    return sum(int(page["Count"]) for page in pages)
