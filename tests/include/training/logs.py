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
from adrank.contracts.timestamps import HOUR as HOUR
from ingestion.landing.event_table import EVENT_SCHEMA
from training import build_training_set

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

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
    pq.write_table(pa.Table.from_pylist(list(rows), schema=EVENT_SCHEMA), target)
    return directory


FeatureRow = tuple[str, datetime, datetime, Mapping[str, float | None]]


def write_features(directory: Path, group: str, rows: Sequence[FeatureRow], revision: int = 0) -> Path:
    """``rows`` are (entity, feature_time, available_at, values); those of one feature time are one partition."""
    for end in sorted({row[1] for row in rows}):
        (available_at,) = {row[2] for row in rows if row[1] == end}
        entities = {row[0]: row[3] for row in rows if row[1] == end}
        write_partition(directory, group, end, available_at, entities, revision)
    return directory


def write_partition(
    directory: Path,
    group: str,
    end: datetime,
    available_at: datetime,
    entities: Mapping[str, Mapping[str, float | None]],
    revision: int = 0,
    fingerprint: str = "",
) -> Path:
    """The partition of the hour that ends at ``end``, without a file where it has no entities.

    :param entities: what is known of each; a value that is not given is null.
    """
    declared, hour = registry.load().group(group), end - HOUR
    target = directory / lake.FEATURES(group).revision(hour, revision)
    target.mkdir(parents=True)
    if entities:
        many = len(entities)
        columns = {
            "entity_id": pa.array(list(entities), pa.string()),
            "feature_time": pa.array([end] * many, pa.timestamp("us", "UTC")),
            "available_at": pa.array([available_at] * many, pa.timestamp("us", "UTC")),
            **{n: pa.array([values.get(n) for values in entities.values()], pa.float32()) for n in declared.names},
        }
        pq.write_table(pa.table(columns), target / "part-0.parquet")
    manifest = FeatureManifest(
        group=group,
        hour=hour,
        revision=revision,
        available_at=available_at,
        fingerprint=fingerprint or declared.fingerprint,
        rows=len(entities),
        content_digest="",
        files=("part-0.parquet",) if entities else (),
    )
    (target / lake.MANIFEST).write_text(manifest.model_dump_json())
    return directory


def engagement(directory: Path, *rows: tuple[str, int, float]) -> Path:
    """(ad, hours from noon to the end of the row's hour, impressions_7d); visible ten minutes after that."""
    return write_features(
        directory,
        "ad_engagement",
        [
            (ad, NOON + hours * HOUR, NOON + hours * HOUR + 10 * MINUTE, {"impressions_7d": value, "ctr_7d": None})
            for ad, hours, value in rows
        ],
    )


def write_ads(directory: Path, rows: Sequence[tuple[str, Mapping[str, str | None] | None, datetime]]) -> Path:
    """``rows`` are (ad, what it says of seller and category, when); without what it says, a deletion."""
    directory.mkdir(parents=True, exist_ok=True)
    nothing = {"seller_id": None, "category": None, "price": 1.0}
    lines = [
        json.dumps(
            {
                "op": "d" if image is None else "c",
                "ts_ms": int(at.timestamp() * 1000),
                "before": None,
                "after": None if image is None else {"ad_id": ad, **nothing, **image},
                "source": {"table": "ads", "lsn": lsn},
            }
        )
        for lsn, (ad, image, at) in enumerate(rows)
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


#: Two searches, an hour apart, of the ads a and b.
BACKGROUND = [*answered("q1", NOON), *answered("q2", NOON + HOUR)]
