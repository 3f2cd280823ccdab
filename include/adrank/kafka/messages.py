"""The Kafka message of an event, as producers write it.

Key: the ``search_id``, so that everything about one search stays in order. Value: a JSON object with the columns of
:mod:`adrank.contracts.events`; times are microseconds since the epoch, ``context`` is an object name -> number, and
what is null is left out. A message of type ``heartbeat`` carries only a time: it says that its partition's producer has
reached that event time, and makes no row; a header of the same name tells it from events unread. Where a schema
registry is used, its frame stands before the JSON: a zero byte and the schema's id. The reading side is
``ingestion.archiver.messages``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from adrank.contracts.events import EVENT_COLUMNS, EVENT_TYPES, REQUIRED_EVENT_COLUMNS
from adrank.contracts.timestamps import micros

HEARTBEAT: Final = "heartbeat"
HEARTBEAT_HEADERS: Final = {HEARTBEAT: b"true"}
#: How a framed message begins; JSON never does.
FRAMED: Final = b"\0"
_FRAME: Final = struct.Struct(">cI")
# Connect's converter wants every required field, and comes before the filter that drops heartbeats.
_NOBODY: Final = {**dict.fromkeys(("event_id", "user_id", "search_id", "ad_id"), HEARTBEAT), "position": 1}
_TIMES: Final = ("event_time", "ingest_time")


class EventMessageError(ValueError):
    """A row that no message can carry; the message names the event and the field."""


def key(row: Mapping[str, Any]) -> bytes:
    """What the message is partitioned by."""
    return str(row["search_id"]).encode()


def encode(row: Mapping[str, Any]) -> bytes:
    """The message of one event.

    ``row`` maps column names to values; times are aware datetimes or microseconds, ``context`` is a mapping or pairs.

    :raises EventMessageError: a column is unknown, a required one is missing, or a value has no place in JSON
    """
    event = row.get("event_id")
    unknown = sorted(set(row) - EVENT_COLUMNS.keys())
    if unknown:
        raise EventMessageError(f"event {event!r}: unknown field {', '.join(unknown)}")
    missing = [name for name in REQUIRED_EVENT_COLUMNS if row.get(name) is None]
    if missing:
        raise EventMessageError(f"event {event!r}: {', '.join(missing)} missing")
    if row["event_type"] not in EVENT_TYPES:
        raise EventMessageError(f"event {event!r}: event_type is {row['event_type']!r}")
    present = {name: value for name, value in row.items() if value is not None}
    for name in _TIMES:
        if name in present:
            present[name] = _micros(event, name, present[name])
    if "context" in present:
        present["context"] = {name: value for name, value in dict(present["context"]).items() if value is not None}
    try:
        return json.dumps(present, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise EventMessageError(f"event {event!r}: {error}") from error


def heartbeat(moment: datetime) -> bytes:
    """The message that moves its partition's clock to ``moment``."""
    value = {"event_type": HEARTBEAT, "event_time": _micros(None, "event_time", moment), **_NOBODY}
    return json.dumps(value, separators=(",", ":")).encode()


def frame(schema_id: int | None) -> bytes:
    """What stands before the JSON of every message; nothing where there is no schema registry."""
    return b"" if schema_id is None else _FRAME.pack(FRAMED, schema_id)


def unframed(value: bytes) -> bytes:
    """The JSON of a message, framed or not."""
    return value[_FRAME.size :] if value.startswith(FRAMED) else value


def _micros(event: object, name: str, value: object) -> int:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return micros(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise EventMessageError(f"event {event!r}: {name} is {value!r}; expected an aware time or microseconds")
