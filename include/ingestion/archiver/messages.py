"""The Kafka message of an event, as the archiver reads it: any bytes become an event, a heartbeat or a rejection.

The form is described where producers find it, in :mod:`adrank.kafka.messages`. Each message is decoded and checked by
itself, in one compiled pass, so that a bad one never touches its neighbours and its reason names the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from adrank.kafka.messages import FRAMED, unframed
from ingestion.landing.event_table import EVENT_SCHEMA

#: Event times are from 1970 to the end of 9999, in microseconds: what every reader can show.
LAST_TIME: Final = 253_402_300_799_999_999
_MAX_REASON_LENGTH: Final = 300

_Id = Annotated[str, Meta(min_length=1)]
_Time = Annotated[int, Meta(ge=0, le=LAST_TIME)]


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One event; field order does not matter in a message."""

    event_type: Literal["impression", "click", "contact", "sale"]
    event_time: _Time
    event_id: _Id
    user_id: _Id
    search_id: _Id
    ad_id: _Id
    position: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    ingest_time: _Time | None = None
    session_id: str | None = None
    model_version: str | None = None
    experiment_id: str | None = None
    variant: str | None = None
    revenue: Annotated[float, Meta(ge=0)] | None = None
    context: dict[str, float | None] | None = None


class Heartbeat(msgspec.Struct, forbid_unknown_fields=True):
    """A producer has reached this event time. What an event needs besides may stand there, and names nobody."""

    event_type: Literal["heartbeat"]
    event_time: _Time
    event_id: Literal["heartbeat"] = "heartbeat"
    user_id: Literal["heartbeat"] = "heartbeat"
    search_id: Literal["heartbeat"] = "heartbeat"
    ad_id: Literal["heartbeat"] = "heartbeat"
    position: Literal[1] = 1


class Rejection(NamedTuple):
    """Why a message is not an event. ``kind`` is one of a few, ``reason`` names the field."""

    kind: str
    reason: str


#: How msgspec begins to say what is wrong -> kind of rejection, in the order in which they are looked for.
_KINDS: Final = (
    ("Object missing required field", "missing_field"),
    ("Object contains unknown field", "unknown_field"),
    ("Invalid enum value", "unknown_value"),
    ("Expected `int` >=", "out_of_range"),
    ("Expected `int` <=", "out_of_range"),
    ("Expected `float` >=", "out_of_range"),
    ("Expected `str` of length", "out_of_range"),
    ("Number out of range", "out_of_range"),
    ("Integer value out of range", "out_of_range"),
    ("Expected", "wrong_type"),
)
_event: Final = msgspec.json.Decoder(Event).decode
_heartbeat: Final = msgspec.json.Decoder(Heartbeat).decode
_TIME: Final = EVENT_SCHEMA.field("event_time").type
_TEXTS: Final = tuple(field.name for field in EVENT_SCHEMA if pa.types.is_string(field.type))
# A text that is no UTF-8 is a UnicodeDecodeError, a nesting without end a RecursionError, no value a TypeError.
_NO_EVENT: Final = (msgspec.MsgspecError, ValueError, RecursionError, TypeError)


def decode(values: Iterable[bytes | None]) -> list[Event | Heartbeat | Rejection]:
    """What each message is, framed or bare; bare events pay nothing for the frame."""
    found: list[Event | Heartbeat | Rejection] = []
    for value in values:
        try:
            found.append(_event(value))  # type: ignore[arg-type]  # what has no value is a TypeError
        except _NO_EVENT as error:
            found.append(_framed(value) if value and value.startswith(FRAMED) else _other(value, error))
    return found


def table(events: Sequence[Event], arrived: npt.NDArray[np.int64]) -> pa.Table:
    """The events as rows of :data:`ingestion.landing.event_table.EVENT_SCHEMA`.

    ``arrived`` (microseconds, one per event) is the ingest time of those that bring none.
    """
    columns: dict[str, pa.Array] = {name: pa.array(list(map(attrgetter(name), events)), pa.string()) for name in _TEXTS}
    brought = pa.array([event.ingest_time for event in events], pa.int64())
    columns["event_time"] = pa.array([event.event_time for event in events], pa.int64()).cast(_TIME)
    columns["ingest_time"] = pc.coalesce(brought, pa.array(arrived, pa.int64())).cast(_TIME)
    columns["position"] = pa.array([event.position for event in events], pa.int32())
    columns["revenue"] = pa.array([event.revenue for event in events], pa.float64())
    columns["context"] = _maps([event.context for event in events])
    return pa.Table.from_arrays([columns[name] for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA)


def _maps(contexts: list[dict[str, float | None] | None]) -> pa.Array:
    """Null stays null; a key whose number is null is left out."""
    missing = np.array([*(context is None for context in contexts), False], dtype=np.bool_)
    present = [context or {} for context in contexts]
    numbers = list(chain.from_iterable(map(dict.values, present)))
    if None in numbers:
        present = [{name: number for name, number in context.items() if number is not None} for context in present]
        numbers = list(chain.from_iterable(map(dict.values, present)))
    offsets = np.concatenate([[0], np.cumsum(np.fromiter(map(len, present), np.int32, len(present)))])
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32(), mask=missing),
        pa.array(list(chain.from_iterable(present)), pa.string()),
        pa.array(numbers, pa.float64()),
    )


def _framed(value: bytes) -> Event | Heartbeat | Rejection:
    inside = unframed(value)
    try:
        return _event(inside)
    except _NO_EVENT as error:
        return _other(inside, error)


def _other(value: bytes | None, error: Exception) -> Heartbeat | Rejection:
    """A heartbeat, or why the message is not an event."""
    if value is None:
        return Rejection("no_value", "message has no value")
    try:
        return _heartbeat(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as not_a_heartbeat:
        return _rejection(not_a_heartbeat if "'heartbeat'" in str(error) else error)


def _rejection(error: Exception) -> Rejection:
    text = str(error)[:_MAX_REASON_LENGTH]
    if isinstance(error, msgspec.ValidationError):
        return Rejection(next((kind for start, kind in _KINDS if text.startswith(start)), "wrong_type"), text)
    if isinstance(error, UnicodeDecodeError):
        return Rejection("not_json", f"message is not UTF-8: {error.reason} at byte {error.start}")
    return Rejection("not_json", f"message is not JSON: {text}")
