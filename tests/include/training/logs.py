"""Builds small raw logs, offline features and catalogue changes by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adrank.contracts import lake, registry
from adrank.contracts.events import EVENT_COLUMNS
from adrank.contracts.manifests import FeatureManifest, TrainingSetManifest
from adrank.contracts.settings import Labels
from training import build_training_set

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
_TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "double": pa.float64(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
    "map<string, double>": pa.map_(pa.string(), pa.float64()),
}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in EVENT_COLUMNS.items()])

Row = dict[str, Any]


def event(kind: str, search: str, ad: str, at: datetime, **more: Any) -> Row:
    row: Row = dict.fromkeys(EVENT_COLUMNS)
    return row | {
        "event_id": f"{kind}-{search}-{ad}-{at.isoformat()}",
        "event_type": kind,
        "event_time": at,
        "ingest_time": at,
        "user_id": f"user-of-{search}",
        "search_id": search,
        "ad_id": ad,
        "position": 1,
        **more,
    }


def shown(search: str, ad: str, at: datetime, position: int = 1, **more: Any) -> Row:
    context = more.pop("context", {"slot": float(position)})
    return event("impression", search, ad, at, position=position, context=list(context.items()), **more)


def clicked(search: str, ad: str, at: datetime, **more: Any) -> Row:
    return event("click", search, ad, at, **more)


def write_events(directory: Path, rows: Sequence[Row], name: str = "part-0.parquet") -> Path:
    target = directory / "raw" / "events" / "dt=2026-03-02" / "hr=12" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=_SCHEMA), target)
    return directory


def write_features(
    directory: Path,
    group: str,
    rows: Sequence[tuple[str, datetime, datetime, Mapping[str, float | None]]],
    revision: int = 0,
) -> Path:
    """``rows`` are (entity, feature_time, available_at, values); a value that is not given is null."""
    names = registry.load().group(group).names
    columns = {
        "entity_id": pa.array([r[0] for r in rows], pa.string()),
        "feature_time": pa.array([r[1] for r in rows], pa.timestamp("us", "UTC")),
        "available_at": pa.array([r[2] for r in rows], pa.timestamp("us", "UTC")),
        **{name: pa.array([r[3].get(name) for r in rows], pa.float32()) for name in names},
    }
    target = directory / "features" / group / "dt=2026-03-02" / "hr=11" / f"rev={revision:03d}" / "part-0.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), target)
    return directory


def write_feature_manifest(directory: Path, group: str, fingerprint: str) -> None:
    manifest = FeatureManifest(
        group=group, hour=NOON, available_at=NOON, fingerprint=fingerprint, rows=0, content_digest="", files=()
    )
    target = directory / "features" / group / "dt=2026-03-02" / "hr=11" / "rev=000" / lake.MANIFEST
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(manifest.model_dump_json())


def write_ads(directory: Path, rows: Sequence[tuple[str, Mapping[str, str | None] | None, datetime]]) -> Path:
    """``rows`` are (ad, what it says of seller and category, when); without what it says, a deletion."""
    directory.mkdir(parents=True, exist_ok=True)
    nothing = {"seller_id": None, "category": None, "price": 1.0}
    lines = [
        json.dumps(
            {
                "op": "d" if said is None else "c",
                "ts_ms": int(at.timestamp() * 1000),
                "before": None,
                "after": None if said is None else {"ad_id": ad, **nothing, **said},
                "source": {"table": "ads", "lsn": lsn},
            }
        )
        for lsn, (ad, said, at) in enumerate(rows)
    ]
    (directory / "part-0.jsonl").write_text("\n".join(lines) + "\n")
    return directory


class Log:
    """A directory of inputs, and the training set that is built from them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = root / "set"

    def build(
        self,
        rows: Sequence[Row],
        *,
        as_of: datetime = NOON + 24 * HOUR,
        features: Path | None = None,
        ads: Path | None = None,
        test_fraction: float = 0.5,
        labels: Labels | None = None,
        billing: Path | None = None,
    ) -> TrainingSetManifest:
        return build_training_set.build(
            write_events(self.root / "events", rows),
            features,
            ads,
            self.output,
            as_of=as_of,
            window_days=7,
            test_fraction=test_fraction,
            labels=labels or Labels(),
            billing=billing,
        )

    def rows(self) -> list[Row]:
        """All rows, train before test, in file order."""
        both = [pq.read_table(self.output / f"{split}.parquet").to_pylist() for split in ("train", "test")]
        return [row for rows in both for row in rows]

    def row(self, search: str, ad: str) -> Row:
        """The one row of a search and ad."""
        (row,) = [r for r in self.rows() if r["search_id"] == search and r["ad_id"] == ad]
        return row


def answered(search: str, at: datetime, ads: Sequence[str] = ("a", "b")) -> list[Row]:
    """A search whose first ad is clicked a minute later."""
    return [
        *(shown(search, ad, at, position) for position, ad in enumerate(ads, 1)),
        clicked(search, ads[0], at + MINUTE),
    ]
