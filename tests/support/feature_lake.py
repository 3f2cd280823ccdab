"""Feature partitions as a compute step leaves them, validated, with values that a test chooses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adrank.contracts import lake, registry
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR

#: The number that all features of an entity are made from; None leaves them null.
Numbers = Mapping[str, float | None]


def values(group: FeatureGroup, number: float | None) -> tuple[float, ...]:
    """The row of an entity with that number, in packing order."""
    return tuple(float("nan") if number is None else float(number + place) for place in range(len(group.names)))


class FeatureLake:
    """The bucket's directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def hour(self, hour: datetime, rows: Mapping[str, Numbers], revision: int = 0) -> None:
        """Write and validate an hour's partitions; groups that ``rows`` does not name are empty."""
        digests = {g.name: self._partition(g, hour, rows.get(g.name, {}), revision) for g in registry.load().groups}
        verdict = json.dumps({"success": True, "content_digests": digests})
        self._write(lake.VALIDATION.hour(hour) + "results.json", verdict)

    def _partition(self, group: FeatureGroup, hour: datetime, rows: Numbers, revision: int) -> str:
        folder = self._root / lake.FEATURES(group.name).revision(hour, revision)
        folder.mkdir(parents=True, exist_ok=True)
        end, count = hour + HOUR, len(rows)
        numbers = np.array([np.nan if n is None else n for n in rows.values()], dtype=np.float32)
        missing = np.isnan(numbers)
        stamp = pa.timestamp("us", tz="UTC")
        columns = {
            "entity_id": pa.array(list(rows), pa.string()),
            "feature_time": pa.array([end] * count, stamp),
            "available_at": pa.array([end + timedelta(minutes=group.lag_minutes)] * count, stamp),
            **{name: pa.array(numbers + place, mask=missing) for place, name in enumerate(group.names)},
        }
        pq.write_table(pa.table(columns), folder / "part-0.parquet")
        digest = hashlib.sha256(repr((hour, sorted(rows.items()))).encode()).hexdigest()
        manifest = FeatureManifest(
            group=group.name,
            hour=hour,
            revision=revision,
            available_at=end,
            fingerprint=group.fingerprint,
            rows=count,
            content_digest=digest,
            files=("part-0.parquet",) if count else (),
        )
        self._write(lake.FEATURES(group.name).manifest(hour, revision), manifest.model_dump_json())
        return digest

    def _write(self, key: str, text: str) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
