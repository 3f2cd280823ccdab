"""The simulated marketplace's billing system: an export a night, of the sales that the raw log holds.

``python -m simulator.sinks.billing_export --bucket B --day 2026-03-01 [--days 1] [--seed 7] [--currency EUR]``

What becomes of a sale is a function of the seed and its event id alone, so that any night can be exported again, in
any order, with the same bytes. A few sales are cancelled and never billed. The others are billed within hours, at
slightly another amount than the provisional one, late sales in the next night's export; a few are corrected later by
a refund of a part.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from adrank.contracts import lake, settings, timestamps
from adrank.contracts.entry_points.command_line import Day, LakeArguments, loaded
from adrank.contracts.manifests import RawManifest
from adrank.contracts.timestamps import DAY, as_utc
from adrank.storage import watermarks
from adrank.storage.object_store import ObjectStore
from ingestion.billing.export import COLUMNS

CANCELLED_SHARE: Final = 0.03
CORRECTED_SHARE: Final = 0.02
_BILLED_WITHIN: Final = timedelta(hours=6)
_CORRECTED_WITHIN: Final = timedelta(hours=6)
_AMOUNT_SPREAD: Final = 0.05
_CENT: Final = Decimal("0.01")


class LogNotWholeError(LookupError):
    """The raw log does not reach the end of the day yet, so its export would leave sales out."""


class Charge(NamedTuple):
    """One row of an export."""

    event_id: str
    billed_at: datetime
    amount: Decimal


class ExportedDay(NamedTuple):
    """What one export bills."""

    day: datetime
    rows: int
    total: Decimal


def charges(event_id: str, sold_at: datetime, revenue: float, seed: int) -> list[Charge]:
    """What one sale is billed, first the charge, then a correction if there is one; nothing if it was cancelled."""
    rng = random.Random(f"{seed} {event_id}")  # noqa: S311
    if rng.random() < CANCELLED_SHARE:
        return []
    billed_at = sold_at + rng.random() * _BILLED_WITHIN
    amount = max(Decimal(revenue * rng.lognormvariate(0, _AMOUNT_SPREAD)).quantize(_CENT), _CENT)
    charge = Charge(event_id, billed_at, amount)
    if rng.random() >= CORRECTED_SHARE:
        return [charge]
    refund = (amount * Decimal(rng.uniform(0.05, 0.5))).quantize(_CENT)
    return [charge, Charge(event_id, billed_at + rng.random() * _CORRECTED_WITHIN, -refund)]


def export_day(store: ObjectStore, day: datetime, *, seed: int, currency: str) -> ExportedDay:
    """Deliver the export of ``day`` (UTC midnight) into the lake's inbox, the control total last.

    :raises LogNotWholeError: the raw log has not passed the end of the day
    """
    watermark = watermarks.raw_watermark(store)
    if watermark is None or watermark < day + DAY:
        reached = watermark.isoformat() if watermark else "nowhere"
        raise LogNotWholeError(f"the raw log reaches {reached}, not the end of {day:%Y-%m-%d}")
    billed = [charge for sale in _sales(store, day) for charge in charges(*sale, seed)]
    todays = sorted((c for c in billed if day <= c.billed_at < day + DAY), key=lambda c: (c.billed_at, c))
    total = sum((charge.amount for charge in todays), Decimal(0))
    store.put(lake.BILLING_EXPORT.key(day), _csv(todays, currency))
    control = {"rows": len(todays), "total": str(total), "currency": currency}
    store.put(lake.BILLING_CONTROL.key(day), json.dumps(control).encode())
    return ExportedDay(day, len(todays), total)


def _sales(store: ObjectStore, day: datetime) -> Iterator[tuple[str, datetime, float]]:
    """Sales of the day and of as long before it as billing takes, each once."""
    seen: set[str] = set()
    for hour in timestamps.hours(day - _BILLED_WITHIN - _CORRECTED_WITHIN, day + DAY):
        content = store.find(lake.RAW_EVENTS.manifest(hour))
        files = () if content is None else RawManifest.model_validate_json(content).files
        for file in files:
            body = store.get(lake.RAW_EVENTS.hour(hour) + file.name)
            table = pq.read_table(pa.BufferReader(body), columns=["event_id", "event_type", "event_time", "revenue"])
            sold = pc.and_(pc.equal(table["event_type"], "sale"), pc.greater(pc.fill_null(table["revenue"], 0.0), 0.0))
            for row in table.filter(sold).to_pylist():
                if row["event_id"] not in seen:
                    seen.add(row["event_id"])
                    yield row["event_id"], as_utc(row["event_time"]), row["revenue"]


def _csv(billed: list[Charge], currency: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((charge.event_id, charge.billed_at.isoformat(), charge.amount, currency) for charge in billed)
    return text.getvalue().encode()


class BillingExportArguments(LakeArguments):
    """Write the billing system's exports of whole days into the inbox."""

    program = "simulator.sinks.billing_export"

    day: Day = Field(description="first UTC day to export")
    days: int = Field(default=1, description="how many days, one export each")
    seed: int = 7
    currency: str = loaded(lambda s: s.billing.currency)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = BillingExportArguments.parse(arguments)
    store = ObjectStore.connect(args.bucket, region=settings.load().region)
    for day in timestamps.days(args.day, args.day + args.days * DAY):
        try:
            exported = export_day(store, day, seed=args.seed, currency=args.currency)
        except LogNotWholeError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{day:%Y-%m-%d}: billed {exported.total} {args.currency} in {exported.rows} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
