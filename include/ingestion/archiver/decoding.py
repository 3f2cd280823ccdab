"""A batch of one partition's messages into rows and dead letters, on the partition's own clock.

The clock is the latest event time that was seen, heartbeats included, but no later than a producer's clock may be.
Whether an event is too old or late depends on the clock as it stood when the event came, so it is the same however the
log is cut into batches. A partition that was silent may be behind the closed hours; then too old is what is too old for
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa

from adrank.contracts.settings import Events
from adrank.contracts.timestamps import HOUR, MICROSECOND, from_micros
from ingestion.archiver import messages as event_messages
from ingestion.archiver.messages import Event, Rejection

#: Extra column of :attr:`Decoded.table`: the hour of the row should have been closed when it came.
LATE: Final = "late"
_NEVER: Final = -(2**62)
_HOUR: Final = HOUR // MICROSECOND


class KafkaMessage(Protocol):
    """What is needed of ``confluent_kafka.Message``."""

    def offset(self) -> int:
        """Where it stands in its partition."""
        ...

    def key(self) -> bytes | None:
        """What it was partitioned by."""
        ...

    def value(self) -> bytes | None:
        """Its bytes."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """(kind, milliseconds since the epoch or less than 1)."""
        ...


class DeadLetter(NamedTuple):
    """A message that is no event, and why. ``timestamp`` is Kafka's, in microseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    rejection: Rejection


@dataclass(frozen=True)
class EventTimeLimits:
    """What an event's time may be, in microseconds."""

    grace: int
    allowed_lateness: int
    max_future: int
    clock_skew: int

    @classmethod
    def of(cls, events: Events) -> EventTimeLimits:
        """The limits of the settings."""
        spans = (events.grace, events.allowed_lateness, events.max_future, events.clock_skew)
        return cls(*(span // MICROSECOND for span in spans))


@dataclass(frozen=True)
class Decoded:
    """What a batch was. ``table`` has the event schema and :data:`LATE`; ``clock`` is the partition's after it."""

    table: pa.Table
    dead: tuple[DeadLetter, ...]
    clock: int | None
    next_offset: int
    messages: int
    size: int


def decode(
    messages: Sequence[KafkaMessage], clock: int | None, limits: EventTimeLimits, now: int, watermark: int | None = None
) -> Decoded:
    """Decode messages, at least one, in the order of their offsets. ``now`` is the wall clock, seen nowhere else.

    ``watermark`` is how far hours are closed, as far as known: features of older events are no longer revised.
    """
    values = [message.value() for message in messages]
    found = event_messages.decode(values)
    n = len(found)
    events = np.fromiter((type(what) is Event for what in found), np.bool_, n)
    times = np.fromiter((_NEVER if isinstance(what, Rejection) else what.event_time for what in found), np.int64, n)
    ahead = times > now + limits.max_future
    start = _NEVER if clock is None else clock
    # Who is far ahead of the wall clock does not move the partition's, and nobody moves it beyond the skew of clocks:
    # a few wrong ones would close the hour while the others are still in it.
    moves = np.where(ahead, _NEVER, np.minimum(times, now + limits.clock_skew))
    clocks = np.maximum.accumulate(np.concatenate([[start], moves]))
    before, after = clocks[:-1], int(clocks[-1])
    reached = before if watermark is None else np.maximum(before, watermark)
    # A heartbeat from long ago says nothing, and harms nobody.
    old = events & (times < reached - limits.allowed_lateness)
    refused = (times == _NEVER) | ahead | old
    dead = []
    for index in np.flatnonzero(refused).tolist():
        what = found[index]
        if not isinstance(what, Rejection):
            what = _outside(what.event_time, ahead=bool(ahead[index]), reached=int(reached[index]))
        dead.append(_dead_letter(messages[index], what, now))
    rows = np.flatnonzero(events & ~refused)
    hour_ends = times[rows] // _HOUR * _HOUR + _HOUR
    kept = cast("list[Event]", found if len(rows) == n else [found[index] for index in rows.tolist()])
    sent = np.fromiter((message.timestamp()[1] for message in messages), np.int64, n)[rows]
    table = event_messages.table(kept, np.where(sent > 0, sent * 1000, now))
    late = pa.array(hour_ends <= before[rows] - limits.grace, pa.bool_())
    return Decoded(
        table=table.append_column(LATE, late),
        dead=tuple(dead),
        clock=None if after == _NEVER else after,
        next_offset=messages[-1].offset() + 1,
        messages=n,
        size=sum(map(len, filter(None, values))),
    )


def _dead_letter(message: KafkaMessage, rejection: Rejection, now: int) -> DeadLetter:
    sent = message.timestamp()[1]
    return DeadLetter(message.offset(), sent * 1000 if sent > 0 else now, message.key(), message.value(), rejection)


def _outside(event_time: int, *, ahead: bool, reached: int) -> Rejection:
    time = from_micros(event_time).isoformat()
    if ahead:
        return Rejection("too_far_ahead", f"event_time {time} is too far ahead of the wall clock")
    log = from_micros(reached).isoformat()
    return Rejection("too_late", f"event_time {time} is too far behind {log}, where the log is")
