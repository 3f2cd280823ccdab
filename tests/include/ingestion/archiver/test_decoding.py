"""Any bytes become an event, a heartbeat or a refusal that names the field; time is judged on the partition's clock."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adrank.contracts.events import EVENT_COLUMNS
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import from_micros, micros
from adrank.kafka.messages import encode, frame, heartbeat
from ingestion.archiver import messages as event_messages
from ingestion.archiver.decoding import LATE, Decoded, EventTimeLimits, decode
from ingestion.archiver.messages import Event, Heartbeat, Rejection
from ingestion.landing.event_table import EVENT_SCHEMA, conform

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
LIMITS = EventTimeLimits.of(Events())
HOUR = timedelta(hours=1)
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "event_type": "impression",
    "event_time": micros(NOW),
    "user_id": "u1",
    "search_id": "s1",
    "ad_id": "a1",
    "position": 1,
}


@dataclass
class Message:
    at: int
    body: bytes | None
    sent: int = 0

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return b"k"

    def value(self) -> bytes | None:
        return self.body

    def timestamp(self) -> tuple[int, int]:
        return (1, self.sent)


def event(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def run(*values: bytes | None, clock: datetime | None = NOW, now: datetime = NOW) -> Decoded:
    messages = [Message(offset, body) for offset, body in enumerate(values, 100)]
    return decode(messages, None if clock is None else micros(clock), LIMITS, micros(now))


def reasons(decoded: Decoded) -> list[tuple[str, str]]:
    return [tuple(letter.rejection) for letter in decoded.dead]


def test_what_producers_encode_is_what_is_read() -> None:
    row = dict.fromkeys(EVENT_COLUMNS) | GOOD | {"event_time": NOW, "context": {"slot": 1.5, "gone": None}}
    table = run(encode(row)).table.drop_columns([LATE])
    assert conform(table).schema.equals(EVENT_SCHEMA)
    read = table.to_pylist()[0]
    assert (read["event_time"], read["context"], read["ingest_time"]) == (NOW, [("slot", 1.5)], NOW)
    assert {name for name in EVENT_COLUMNS if read[name] is None} == {
        *("session_id", "model_version", "experiment_id", "variant", "revenue")
    }


def test_an_event_in_the_registrys_frame_is_the_event_without_it() -> None:
    bare, framed = run(event()), run(frame(7) + event())
    assert framed.table.equals(bare.table)
    assert framed.dead == ()


@pytest.mark.parametrize("before", [b"", frame(7)])
def test_a_heartbeat_moves_the_clock_and_is_no_row(before: bytes) -> None:
    short = b'{"event_type":"heartbeat","event_time":%d}' % micros(NOW)
    for beat in (heartbeat(NOW), short):
        decoded = run(before + beat, clock=None)
        assert (decoded.clock, decoded.table.num_rows, decoded.dead) == (micros(NOW), 0, ())


def test_a_dead_letter_keeps_its_frame() -> None:
    value = frame(7) + b"rubbish"
    assert [letter.value for letter in run(value).dead] == [value]


def test_ingest_time_is_kafkas_unless_the_event_brings_one() -> None:
    sent = int(NOW.timestamp() * 1000) - 5
    messages = [Message(0, event(), sent), Message(1, event(ingest_time=7), sent)]
    read = decode(messages, None, LIMITS, micros(NOW)).table["ingest_time"].to_pylist()
    assert read == [NOW - timedelta(milliseconds=5), from_micros(7)]


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (None, "no_value", "message has no value"),
        (b"", "not_json", "message is not JSON: Input data was truncated"),
        (event() + b"\n" + event(), "not_json", "trailing characters"),
        (b'{"event_id":"\xc3\x28"}', "not_json", "not UTF-8"),
        (b"[]", "wrong_type", "Expected `object`, got `array`"),
        (b"[" * 10_000, "wrong_type", "Expected `object`"),
        (event(colour="red"), "unknown_field", "`colour`"),
        (event(user_id=None), "wrong_type", "$.user_id"),
        (event(user_id=""), "out_of_range", "$.user_id"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "ad_id"}).encode(), "missing_field", "`ad_id`"),
        (event(position="1"), "wrong_type", "$.position"),
        (event(position=0), "out_of_range", "$.position"),
        (event(position=2**31), "out_of_range", "$.position"),
        (event(event_type="hover"), "unknown_value", "$.event_type"),
        (event(event_time="2026-05-04"), "wrong_type", "$.event_time"),
        (event(event_time=10**30), "out_of_range", "$.event_time"),
        (event(revenue=-0.01), "out_of_range", "$.revenue"),
        (event(context={"slot": "1"}), "wrong_type", "$.context"),
        (event(event_type="heartbeat"), "unknown_value", "$.event_id"),
        (event(event_type="heartbeat", colour="red"), "unknown_value", "$.event_id"),
        (b'{"event_type":"heartbeat"}', "missing_field", "`event_time`"),
        (b"\0", "not_json", "message is not JSON: Input data was truncated"),
        (frame(7), "not_json", "message is not JSON: Input data was truncated"),
        (frame(7) + b"rubbish", "not_json", "message is not JSON: JSON is malformed"),
        (frame(7) + b"\xc3\x28", "not_json", "message is not JSON: JSON is malformed"),
        (frame(7) + event(position=0), "out_of_range", "$.position"),
        (frame(7) + frame(7) + event(), "not_json", "message is not JSON: JSON is malformed"),
        (b"\0" * 10_000, "not_json", "message is not JSON: JSON is malformed"),
    ],
)
def test_poison_is_refused_with_a_reason_that_names_the_field(value: bytes | None, kind: str, reason: str) -> None:
    decoded = run(event(event_id="before"), value, event(event_id="after"))
    assert [(letter.offset, letter.rejection.kind) for letter in decoded.dead] == [(101, kind)]
    assert reason in decoded.dead[0].rejection.reason
    assert decoded.table["event_id"].to_pylist() == ["before", "after"]


def test_an_event_ahead_of_the_wall_clock_is_refused_and_moves_no_clock() -> None:
    far = micros(NOW + HOUR) + 1
    decoded = run(event(event_time=far), heartbeat(from_micros(far)), event())
    assert [kind for kind, _ in reasons(decoded)] == ["too_far_ahead", "too_far_ahead"]
    assert decoded.clock == micros(NOW)
    assert run(event(event_time=far - 1)).dead == ()


def test_nobody_moves_the_partitions_clock_further_ahead_than_clocks_may_differ() -> None:
    late, wrong = NOW + timedelta(seconds=10), NOW + timedelta(minutes=55)
    decoded = run(event(event_time=micros(wrong)), event(event_time=micros(late)))
    assert (decoded.dead, decoded.table.num_rows) == ((), 2)
    assert decoded.clock == micros(NOW + timedelta(minutes=1))
    assert run(heartbeat(wrong)).clock == micros(NOW + timedelta(minutes=1))
    assert run(heartbeat(late)).clock == micros(late)
    assert run(heartbeat(wrong), clock=wrong).clock == micros(wrong), "a clock never goes back"


def test_a_skew_beyond_what_is_poison_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="clock_skew must not exceed max_future"):
        Events(max_future=timedelta(minutes=5), clock_skew=timedelta(minutes=6))


def test_a_partition_behind_the_closed_hours_refuses_what_is_too_late_for_them() -> None:
    last = micros(NOW) - LIMITS.allowed_lateness
    messages = [Message(0, event(event_time=last)), Message(1, event(event_time=last - 1, event_id="old"))]
    stale = micros(NOW - 72 * HOUR)
    decoded = decode(messages, stale, LIMITS, micros(NOW), micros(NOW))
    assert [(letter.offset, letter.rejection.kind) for letter in decoded.dead] == [(1, "too_late")]
    assert NOW.isoformat() in decoded.dead[0].rejection.reason
    assert decoded.clock == last, "the clock is the partition's own"
    assert decode(messages, micros(NOW), LIMITS, micros(NOW), stale).dead == decoded.dead


def test_an_event_is_too_late_by_the_clock_as_it_was_when_the_event_came() -> None:
    last = micros(NOW) - LIMITS.allowed_lateness
    decoded = run(event(event_time=last), event(event_time=last - 1, event_id="old"), clock=NOW)
    assert [kind for kind, _ in reasons(decoded)] == ["too_late"]
    assert "$" not in reasons(decoded)[0][1]
    assert "event_time" in reasons(decoded)[0][1]
    assert run(event(event_time=last - 1), heartbeat(NOW), clock=None).dead == (), "it came before the heartbeat"


def test_an_old_heartbeat_harms_nobody() -> None:
    decoded = run(heartbeat(from_micros(0)))
    assert (decoded.dead, decoded.clock, decoded.table.num_rows) == ((), micros(NOW), 0)


def test_a_row_is_late_when_its_hour_should_have_been_closed() -> None:
    clock = datetime(2026, 5, 4, 12, 10, tzinfo=UTC)  # the grace is ten minutes
    inside, before = datetime(2026, 5, 4, 12, tzinfo=UTC), datetime(2026, 5, 4, 11, 59, 59, tzinfo=UTC)
    values = [event(event_time=micros(time)) for time in (inside, before)]
    assert run(*values, clock=clock).table[LATE].to_pylist() == [False, True]
    assert run(*values, clock=clock - timedelta(microseconds=1)).table[LATE].to_pylist() == [False, False]


def shapes() -> st.SearchStrategy[bytes]:
    """Anything, and messages that are nearly right."""
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
    changed = st.dictionaries(st.sampled_from([*EVENT_COLUMNS, "other"]), value, max_size=4)
    nearly = changed.map(lambda changes: json.dumps({**GOOD, **changes}).encode())
    cut = st.tuples(nearly, st.integers(0, 300)).map(lambda pair: pair[0][: pair[1]])
    torn = st.tuples(nearly, st.binary(max_size=3), st.integers(0, 300))
    spliced = torn.map(lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :])
    framed = st.tuples(st.just(frame(7)), nearly | cut).map(b"".join)
    return st.binary(max_size=200) | nearly | cut | spliced | framed


@settings(max_examples=150, deadline=None)
@given(st.lists(shapes(), min_size=1, max_size=12), st.randoms())
def test_any_bytes_are_rows_or_dead_letters_and_batches_do_not_matter(values: list[bytes], dice: Any) -> None:
    whole = run(*values, clock=None)
    found = event_messages.decode(values)
    beats = sum(isinstance(what, Heartbeat) for what in found)
    refused_beats = sum(
        isinstance(what, Heartbeat) for what, at in zip(found, range(100, 200), strict=False) if at in offsets(whole)
    )
    assert whole.table.num_rows + len(whole.dead) + beats - refused_beats == len(values)
    assert all(letter.rejection.reason for letter in whole.dead)
    assert all(isinstance(what, Event | Heartbeat | Rejection) for what in found)
    conform(whole.table.drop_columns([LATE])).validate(full=True)

    cut = dice.randint(0, len(values))
    clock, rows, dead = None, [], []
    for start, part in ((100, values[:cut]), (100 + cut, values[cut:])):
        if part:
            messages = [Message(start + number, body) for number, body in enumerate(part)]
            decoded = decode(messages, clock, LIMITS, micros(NOW))
            clock = decoded.clock
            rows += decoded.table.to_pylist()
            dead += decoded.dead
    assert (repr(rows), dead, clock) == (repr(whole.table.to_pylist()), list(whole.dead), whole.clock)


def offsets(decoded: Decoded) -> Iterable[int]:
    return {letter.offset for letter in decoded.dead}
