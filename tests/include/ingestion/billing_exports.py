"""Billing deliveries for tests: a valid pair of files, to be broken one thing at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from adrank.contracts import lake
from adrank.storage.object_store import ObjectStore

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HEADER = "event_id,billed_at,amount,currency"
LINES = (
    "sale-1,2026-03-01T10:00:00Z,12.50,EUR",
    "sale-2,2026-03-01T12:00:00+01:00,7.25,EUR",
    "sale-1,2026-03-01T23:59:59.999999Z,-2.50,EUR",
)


def export(*lines: str, end: str = "\n") -> bytes:
    return ("\n".join((HEADER, *lines)) + end).encode()


def control(*lines: str, **changes: Any) -> bytes:
    total = sum((Decimal(line.split(",")[2]) for line in lines), Decimal(0))
    return json.dumps({"rows": len(lines), "total": str(total), "currency": "EUR", **changes}).encode()


def deliver(store: ObjectStore, *lines: str, day: datetime = DAY) -> None:
    """Put an export and its control total into the inbox, as the billing system does: the control last."""
    store.put(lake.BILLING_INBOX.day(day) + "export.csv", export(*lines))
    store.put(lake.BILLING_INBOX.day(day) + "control.json", control(*lines))
