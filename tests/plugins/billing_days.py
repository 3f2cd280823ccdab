"""Days of billing that landed in the lake, as manifests only."""

from __future__ import annotations

import json
from datetime import datetime

from adrank.contracts import lake as layout
from adrank.contracts.manifests import BillingManifest, DataFile
from adrank_airflow.hooks.lake import LakeHook


def land(hook: LakeHook, day: datetime, revision: int, landed_at: datetime) -> None:
    manifest = BillingManifest(
        day=day,
        revision=revision,
        landed_at=landed_at,
        currency="EUR",
        total="1",
        file=DataFile(name=f"part-{revision}.csv", rows=1),
    )
    for key in (layout.RAW_BILLING.manifest_revision(day, revision), layout.RAW_BILLING.manifest(day)):
        hook.write_json(key, json.loads(manifest.model_dump_json()))


def files(day: datetime, revision: int) -> list[str]:
    return [layout.RAW_BILLING.manifest_revision(day, revision), f"{layout.RAW_BILLING.day(day)}part-{revision}.csv"]
