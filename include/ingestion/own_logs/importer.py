"""Bring your own logs: check a directory of logs whole, then land it as raw hours.

Nothing is written before every file has been read and checked, so a bad file leaves the lake as it was. Rules that a
user may ask about:

- Times without a zone are taken as UTC.
- Repeated ``event_id``s are dropped and counted; outcomes without an impression land in ``raw/rejected/`` with a
  reason.
- Billed amounts replace the ``revenue`` of the event that they bill; several amounts of one event are added up, in
  millionths of the currency unit.
- A billing file is all that was billed from the first event to its own last ``billed_at``: every day in between lands,
  and an unbilled event that is older than the billing maturity earned nothing. Without the file revenue stays as it is.
- Ads and sellers are visible from the beginning of the log, because a snapshot does not say when it was first true.
- Every hour between the first and the last event gets a manifest. A log that spans more than ten years is refused,
  since one wrong year in one row would make it hundreds of thousands of empty hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts import settings, timestamps
from adrank.contracts.timestamps import DAY, HOUR, as_utc, floor_day, floor_hour
from adrank.storage.object_store import ObjectStore
from ingestion.billing import landing as billing_landing
from ingestion.billing.export import MAX_AMOUNT, BilledRow
from ingestion.landing import changes, event_table, raw_events
from ingestion.own_logs import entities as log_entities
from ingestion.own_logs import events as log_events
from ingestion.own_logs.entities import Billing, Entities
from ingestion.own_logs.events import LoggedEvents
from ingestion.own_logs.files import OwnLogsError

MAX_SPAN: Final = timedelta(days=3653)
_BILLING_LAG: Final = settings.Billing().lag


@dataclass(frozen=True)
class ImportedLogs:
    """A directory of logs, read and checked; ``events.accepted`` already has billed revenue."""

    events: LoggedEvents
    ads: Entities | None
    sellers: Entities | None
    billing: Billing | None
    billed_events: int
    billing_unmatched: int

    @property
    def first_time(self) -> datetime:
        """Time of the first event."""
        return as_utc(self.events.accepted["event_time"][0].as_py())

    @property
    def last_time(self) -> datetime:
        """Time of the last event."""
        return as_utc(self.events.accepted["event_time"][-1].as_py())


def read(directory: Path) -> ImportedLogs:
    """Read and check everything in ``directory``; raises :class:`ingestion.own_logs.files.OwnLogsError`."""
    if not directory.is_dir():
        raise OwnLogsError(f"{directory}: is not a directory")
    events = log_events.read_events(directory)
    logs = ImportedLogs(
        events=events,
        ads=log_entities.read_ads(directory),
        sellers=log_entities.read_sellers(directory),
        billing=log_entities.read_billing(directory),
        billed_events=0,
        billing_unmatched=0,
    )
    _require_span(logs)
    if logs.billing is None:
        return logs
    _require_billing_span(logs, logs.billing)
    return _billed(logs, logs.billing)


def land(logs: ImportedLogs, store: ObjectStore, *, billing_lag: timedelta = _BILLING_LAG) -> None:
    """Land what :func:`read` returned: change data and billing first, event manifests last."""
    first, last = floor_hour(logs.first_time), floor_hour(logs.last_time)
    changes.land_cdc(store, "ads", first, log_entities.snapshot("ads", logs.ads, logs.first_time))
    changes.land_cdc(store, "sellers", first, log_entities.snapshot("sellers", logs.sellers, logs.first_time))
    changes.close_empty_hours(store, first, last + HOUR)
    if logs.billing is not None:
        _land_billing(logs.billing, logs, store, billing_lag)
    refused = dict(raw_events.by_hour(logs.events.rejected.sort_by("event_time")))
    for hour, table in refused.items():
        raw_events.land_rejected(store, hour, table)
    filled = dict(raw_events.by_hour(logs.events.accepted))
    nothing = event_table.empty()
    raw_events.land_hours(
        store,
        (
            raw_events.HourToLand(hour, filled.get(hour, nothing), refused[hour].num_rows if hour in refused else 0)
            for hour in timestamps.hours(first, last + HOUR)
        ),
    )


def _require_span(logs: ImportedLogs) -> None:
    if logs.last_time - logs.first_time <= MAX_SPAN:
        return
    times = np.asarray(logs.events.accepted["event_time"].cast(pa.int64()))
    middle = float(np.median(times))
    odd = 0 if middle - times[0] > times[-1] - middle else len(times) - 1
    span = f"{logs.first_time.isoformat()} to {logs.last_time.isoformat()}"
    raise logs.events.file.error(
        f"events span {span}, more than ten years; is the time of this one right?",
        column="event_time",
        row=int(logs.events.source_rows[odd]),
    )


def _require_billing_span(logs: ImportedLogs, billing: Billing) -> None:
    billed_at = billing.table["billed_at"]
    early = pc.less(billed_at, pa.scalar(logs.first_time - MAX_SPAN, billed_at.type))
    late = pc.greater(billed_at, pa.scalar(logs.last_time + MAX_SPAN, billed_at.type))
    row = pc.index(pc.or_(early, late), pa.scalar(True)).as_py()
    if row >= 0:
        reason = "is more than ten years from the events; is the time of this one right?"
        raise billing.file.error(f"{billed_at[row].as_py().isoformat()} {reason}", column="billed_at", row=row)


def _billed(logs: ImportedLogs, billing: Billing) -> ImportedLogs:
    events = logs.events.accepted
    at = pc.index_in(billing.table["event_id"], value_set=events["event_id"].combine_chunks())
    matched = np.flatnonzero(np.asarray(at.combine_chunks().is_valid().cast(pa.uint8())))
    usable = billing.table.append_column("at", at).take(pa.array(matched)).filter(pc.field("amount").is_valid())
    rows = np.asarray(usable["at"])
    touched, place = np.unique(rows, return_inverse=True)
    sums, millionths = np.zeros(len(touched)), np.zeros(len(touched), dtype=np.int64)
    np.add.at(sums, place, np.asarray(usable["amount"]))
    np.add.at(millionths, place, np.rint(np.asarray(usable["amount"]) * 1e6).astype(np.int64))
    _refuse_sums(logs, billing, touched, sums)
    revenue = np.asarray(pc.fill_null(events["revenue"], float("nan"))).copy()
    revenue[touched] = millionths / 1e6
    column = events.schema.get_field_index("revenue")
    superseded = events.set_column(column, events.schema.field("revenue"), pa.array(revenue, from_pandas=True))
    return replace(
        logs,
        events=replace(logs.events, accepted=superseded),
        billed_events=len(touched),
        billing_unmatched=billing.table.num_rows - len(matched),
    )


def _refuse_sums(
    logs: ImportedLogs,
    billing: Billing,
    touched: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> None:
    wrong = np.flatnonzero((sums < -1e-9) | (sums > float(MAX_AMOUNT)))
    if len(wrong):
        event_id = logs.events.accepted["event_id"][int(touched[wrong[0]])].as_py()
        row = pc.index(billing.table["event_id"], event_id).as_py()
        expected = "0 or more" if sums[wrong[0]] < 0 else f"at most {float(MAX_AMOUNT):g}"
        reason = f"amounts billed for event {event_id} add up to {sums[wrong[0]]:g}; expected {expected}"
        raise billing.file.error(reason, column="amount", row=row)


def _land_billing(billing: Billing, logs: ImportedLogs, store: ObjectStore, lag: timedelta) -> None:
    """A row without ``billed_at`` lands on the day of the log's last event: the export was not made before it."""
    rows: dict[datetime, list[BilledRow]] = {}
    for row in billing.table.to_pylist():
        billed_at = as_utc(row["billed_at"] or logs.last_time)
        amount = None if row["amount"] is None else Decimal(round(row["amount"] * 1e6)).scaleb(-6)
        billed = BilledRow(row["event_id"], billed_at, amount, row["currency"] or "")
        rows.setdefault(floor_day(billed_at), []).append(billed)
    currency = next((row.currency for day in rows.values() for row in day if row.currency), "")
    for day in timestamps.days(min(logs.first_time, min(rows)), max(rows) + DAY):
        billing_landing.land(store, day, rows.get(day, []), currency=currency, lag=lag)
