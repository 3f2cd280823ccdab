"""A directory of landed billing, written by the code that lands it in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from adrank.contracts import timestamps
from adrank.contracts.timestamps import DAY
from adrank.storage.object_store import ObjectStore, Version
from ingestion.billing import landing
from ingestion.billing.export import BilledRow
from tests.include.training.logs import MINUTE, NOON, Row, event

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
TUESDAY, WEDNESDAY, THURSDAY, WEEK = (MONDAY + n * DAY for n in (1, 2, 3, 7))


class Directory(ObjectStore):
    """A lake whose objects are files, as a job sees them."""

    def __init__(self, root: Path) -> None:
        super().__init__("directory", None)
        self.root = root

    def put(self, key: str, body: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(body)

    def put_if_match(self, key: str, body: bytes, etag: str | None) -> str:
        self.put(key, body)
        return etag or ""

    def find_version(self, key: str) -> Version | None:
        return Version((self.root / key).read_bytes(), "", MONDAY, "") if (self.root / key).exists() else None

    def keys(self, prefix: str = "") -> Iterator[str]:
        files = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())
        return (key for key in files if key.startswith(prefix))


def bill(
    directory: Path,
    day: datetime,
    *rows: tuple[str, str],
    clock: datetime | None = None,
    lag: timedelta = timedelta(0),
    currency: str = "EUR",
) -> Path:
    """Land the export of ``day`` (UTC midnight) with rows (event id, amount); ``clock`` is when a correction came."""
    billed = [
        BilledRow(event, day + n * timedelta(seconds=1), Decimal(a), currency) for n, (event, a) in enumerate(rows)
    ]
    landing.land(Directory(directory), day, billed, currency=currency, lag=lag, clock=lambda: clock)
    return directory


def bill_days(directory: Path, first: datetime, last: datetime) -> Path:
    """Land an export without rows for every day from ``first`` to ``last``."""
    for day in timestamps.days(first, last + DAY):
        bill(directory, day)
    return directory


def sale(search: str, at: datetime = NOON, **more: Any) -> Row:
    return event("sale", search, "a", at + 2 * MINUTE, **{"event_id": f"sale-{search}", "revenue": 10.0, **more})
