"""No event may be billed less than nothing in all: a refund must have something to refund.

Exports are added up over days, so an export alone cannot tell. Only events that it lowers are looked up, in the days
that have landed, newest first and no further than needed: what has landed before already holds the rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from adrank.contracts import lake
from adrank.storage.object_store import ObjectStore
from ingestion.billing import landing
from ingestion.billing.export import EXPORT, BilledRow, BillingExport, BillingExportError


def require_non_negative(store: ObjectStore, export: BillingExport) -> None:
    """Refuse an export with which an event's amounts, over its own and other landed days, would be below zero.

    :raises BillingExportError: naming the event and its first row in the export
    """
    offered = _by_event(export.rows)
    former = _landed(store, export.day, None)
    lowered = {event for event in {*offered, *former} if offered.get(event, 0) < former.get(event, 0)}
    if not lowered:
        return
    days = _days(store)
    later = [day for day in days if day > export.day]
    net = {event: offered.get(event, Decimal(0)) for event in lowered}
    for day in reversed([day for day in days if day < export.day]):
        if not later and min(net.values()) >= 0:
            return
        _add(net, _landed(store, day, lowered))
    _require(export, net, export.day)
    for day in later:
        _add(net, _landed(store, day, lowered))
        _require(export, net, day)


def _require(export: BillingExport, net: Mapping[str, Decimal], until: datetime) -> None:
    below = sorted(event for event, amount in net.items() if amount < 0)
    if not below:
        return
    row = next((n for n, found in enumerate(export.rows, 1) if found.event_id == below[0]), None)
    billed = f"amounts billed for event {below[0]} up to {until:%Y-%m-%d}"
    reason = f"column amount: {billed} add up to {net[below[0]].normalize():f}; expected 0 or more"
    raise BillingExportError(EXPORT, reason, row=row, line=None if row is None else row + 1)


def _add(net: dict[str, Decimal], more: Mapping[str, Decimal]) -> None:
    for event, amount in more.items():
        net[event] += amount


def _days(store: ObjectStore) -> list[datetime]:
    return [lake.day_of(folder) for folder in store.folders(lake.RAW_BILLING.prefix)]


def _landed(store: ObjectStore, day: datetime, events: set[str] | None) -> dict[str, Decimal]:
    """Amounts by event of one landed day, of these events or of all."""
    manifest = landing.manifest_of(store, day)
    if manifest is None:
        return {}
    table = pa_csv.read_csv(
        pa.BufferReader(store.get(lake.RAW_BILLING.day(day) + manifest.file.name)),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            include_columns=["event_id", "amount"],
            column_types={"event_id": pa.string(), "amount": pa.decimal128(18, 6)},
            null_values=[""],
            strings_can_be_null=False,
        ),
    )
    if events is not None:
        table = table.filter(pc.is_in(table["event_id"], pa.array(sorted(events), pa.string())))
    return _sums(zip(table["event_id"].to_pylist(), table["amount"].to_pylist(), strict=True))


def _by_event(rows: Iterable[BilledRow]) -> dict[str, Decimal]:
    return _sums((row.event_id, row.amount) for row in rows)


def _sums(amounts: Iterable[tuple[str, Decimal | None]]) -> dict[str, Decimal]:
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event, amount in amounts:
        total[event] += amount or 0
    return dict(total)
