"""The raw event: one row for each thing that a user saw or did.

Delivery is at least once; ``event_id`` deduplicates. An ``impression`` row carries the ranking context;
``click``, ``contact`` and ``sale`` rows repeat the ``search_id`` and ``ad_id`` of the impression that they answer.
"""

from __future__ import annotations

from typing import Final, Literal

EventType = Literal["impression", "click", "contact", "sale"]
EVENT_TYPES: Final[tuple[EventType, ...]] = ("impression", "click", "contact", "sale")

#: Column name -> Arrow type, in file order. Times are UTC with microseconds; position is 1-based;
#: revenue is in the marketplace's currency and provisional until billed.
EVENT_COLUMNS: Final[dict[str, str]] = {
    "event_id": "string",
    "event_type": "string",
    "event_time": "timestamp[us, tz=UTC]",
    "ingest_time": "timestamp[us, tz=UTC]",
    "user_id": "string",
    "session_id": "string",
    "search_id": "string",
    "ad_id": "string",
    "position": "int32",
    "model_version": "string",
    "experiment_id": "string",
    "variant": "string",
    "revenue": "double",
    "context": "map<string, double>",
}
REQUIRED_EVENT_COLUMNS: Final[tuple[str, ...]] = (
    "event_id",
    "event_type",
    "event_time",
    "user_id",
    "search_id",
    "ad_id",
    "position",
)

#: Context key of the paid slot that the incumbent, the fixed-slot ranker, orders by. Never a model feature.
SLOT_KEY: Final = "slot"
