"""Hours that Kafka Connect's sink fills: only what the sink has committed is in a manifest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from adrank.contracts import lake, settings
from adrank.contracts.timestamps import floor_hour
from adrank.storage.object_store import ObjectStore
from ingestion.archiver import checkpoints
from ingestion.archiver.decoding import EventTimeLimits, decode
from ingestion.connect.close_hours import GROUP, SinkOffsets, SinkUnreadableError, close_hours, main
from ingestion.landing import event_table
from tests.include.ingestion.archiver.stream import HOUR, Stream, row

pytestmark = pytest.mark.stack
PARTITIONS = range(3)


class Sink:
    """Does what the S3 sink does: files by event time, named by topic, partition and first offset; then the commit."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        address = {"bootstrap.servers": stream.events.brokers, "group.id": GROUP, "enable.auto.commit": False}
        self._consumer = Consumer({**stream.events.client, **address})
        self._at = dict.fromkeys(PARTITIONS, 0)

    def write(self, *, commit: bool = True) -> None:
        self._consumer.assign([TopicPartition(self._stream.events.topic, p, at) for p, at in self._at.items()])
        found: dict[int, list[object]] = {}
        while messages := self._consumer.consume(1000, 1.0):
            for message in messages:
                found.setdefault(message.partition(), []).append(message)
        for partition, messages in found.items():
            self._files(partition, messages)
            self._at[partition] = messages[-1].offset() + 1
        if commit:
            offsets = [TopicPartition(self._stream.events.topic, p, at) for p, at in self._at.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def _files(self, partition: int, messages: list[object]) -> None:
        for message in messages:
            table = decode([message], None, EventTimeLimits.of(self._stream.events), 2**60).table.select(
                event_table.EVENT_SCHEMA.names
            )
            if table.num_rows:
                hour = floor_hour(table["event_time"][0].as_py())
                name = f"{self._stream.events.topic}+{partition}+{message.offset():010d}.zstd.parquet"
                self._stream.lake.put(lake.RAW_EVENTS.hour(hour) + name, event_table.parquet_bytes(table))


def look(stream: Stream, **changed: Any) -> tuple[int, list[str]]:
    """One run: how many hours it closed, and what it said of files that it refused."""
    sink = SinkOffsets(stream.events, GROUP)
    refused: list[str] = []
    try:
        events = stream.events.model_copy(update=changed)
        return close_hours(stream.lake, events, sink, refused.append).hours, refused
    finally:
        sink.close()


def closed(stream: Stream) -> int:
    hours, refused = look(stream)
    assert refused == []
    return hours


def test_an_hour_is_closed_once_the_sink_has_committed_beyond_it(stream: Stream) -> None:
    sink = Sink(stream)
    stream.say(*(row(f"e{n}", HOUR + n * timedelta(minutes=10)) for n in range(8)))
    stream.reach(HOUR + timedelta(hours=2))
    sink.write(commit=False)
    assert closed(stream) == 0
    assert stream.manifest(HOUR) is None
    sink.write()
    assert closed(stream) == 1
    assert stream.ids(HOUR) == [f"e{n}" for n in range(6)]
    assert closed(stream) == 0, "closing again changes nothing"


def test_what_the_sink_writes_late_is_a_revision(stream: Stream) -> None:
    sink = Sink(stream)
    stream.say(row("a", HOUR))
    stream.reach(HOUR + timedelta(hours=3))
    sink.write()
    closed(stream)
    stream.say(row("late", HOUR + timedelta(minutes=5)))
    stream.reach(HOUR + timedelta(hours=4, minutes=10))
    sink.write()
    closed(stream)
    manifest = stream.manifest(HOUR)
    assert manifest is not None
    assert (manifest.revision, manifest.rows, manifest.late_rows) == (1, 2, 1)
    assert stream.ids(HOUR) == ["a", "late"]


def test_a_file_that_the_sink_has_not_committed_is_in_no_manifest(stream: Stream) -> None:
    sink = Sink(stream)
    stream.say(row("a", HOUR))
    stream.reach(HOUR + timedelta(hours=2))
    sink.write()
    torn = f"{stream.events.topic}+0+0000009999.zstd.parquet"
    stream.lake.put(lake.RAW_EVENTS.hour(HOUR) + torn, b"half a file")
    closed(stream)
    assert stream.ids(HOUR) == ["a"]


def test_files_before_a_poisonous_message_are_not_lost(stream: Stream) -> None:
    sink = Sink(stream)
    stream.say_to(0, row("a", HOUR))
    for partition in PARTITIONS:
        stream.say_to(partition, row(f"b{partition}", HOUR + timedelta(hours=2)))
    stream.log._producer.send(value=b"poison", partition=0)
    stream.log.flush()
    sink.write()
    assert closed(stream) == 1
    assert stream.ids(HOUR) == ["a"]


def test_an_offset_stays_where_it_is_while_no_message_has_a_time(stream: Stream) -> None:
    sink = Sink(stream)
    stream.log._producer.send(value=b"poison", partition=0)
    stream.log.flush()
    sink.write()
    closed(stream)
    (checkpoint,) = checkpoints.read(stream.lake, stream.events.topic, [0])
    assert checkpoint is not None
    assert (checkpoint.next_offset, checkpoint.clock) == (None, None)


def test_an_outage_longer_than_the_lookback_loses_no_hour(stream: Stream) -> None:
    sink = Sink(stream)
    stream.say(row("a", HOUR))
    stream.reach(HOUR + timedelta(hours=2))
    sink.write()
    closed(stream)
    days = [HOUR + n * timedelta(days=1) for n in range(1, 6)]
    stream.say_to(0, *(row(f"day{n}", day) for n, day in enumerate(days)))
    stream.reach(days[-1] + timedelta(hours=2))
    sink.write()
    closed(stream)
    assert [stream.ids(day) for day in days] == [["day0"], ["day1"], ["day2"], ["day3"], ["day4"]]


def test_a_late_last_message_neither_hides_files_nor_holds_the_clock(stream: Stream) -> None:
    sink = Sink(stream)
    ahead = HOUR + timedelta(hours=30)
    for partition in PARTITIONS:
        stream.say_to(partition, row(f"now{partition}", ahead), row(f"late{partition}", HOUR))
    sink.write()
    assert closed(stream) == 29, "the clock is the latest event's"
    assert stream.ids(HOUR) == ["late0", "late1", "late2"]
    stream.reach(ahead + timedelta(hours=2))
    sink.write()
    closed(stream)
    assert stream.ids(ahead) == ["now0", "now1", "now2"]


def test_an_event_that_is_hours_ahead_is_in_its_hours_manifest(stream: Stream) -> None:
    sink = Sink(stream)
    ahead = HOUR + timedelta(hours=5)
    stream.say_to(0, row("ahead", ahead), row("a", HOUR))
    sink.write()
    closed(stream)
    stream.reach(ahead + timedelta(hours=2))
    sink.write()
    closed(stream)
    assert stream.ids(ahead) == ["ahead"]


def test_a_clock_far_ahead_of_the_walls_closes_no_hour_and_its_file_is_reported(stream: Stream) -> None:
    sink = Sink(stream)
    now = floor_hour(datetime.now(UTC))
    wrong = now + timedelta(days=3)
    for partition in PARTITIONS:
        stream.say_to(partition, row(f"a{partition}", now), row(f"wrong{partition}", wrong))
    sink.write()
    hours, refused = look(stream, max_future=timedelta(hours=1), clock_skew=timedelta(minutes=1))
    assert hours == 0
    keys = [f"{lake.RAW_EVENTS.hour(wrong)}{stream.events.topic}+{p}+0000000001.zstd.parquet" for p in PARTITIONS]
    assert refused == [f"too far ahead of the wall clock: s3://{stream.lake.bucket}/{key}" for key in keys]
    known = checkpoints.read(stream.lake, stream.events.topic, PARTITIONS)
    assert [checkpoint.clock for checkpoint in known if checkpoint] == [now] * 3


def test_no_event_moves_the_clock_further_ahead_of_the_walls_than_the_skew(stream: Stream) -> None:
    sink = Sink(stream)
    coming = floor_hour(datetime.now(UTC)) + timedelta(hours=2)
    stream.say(row("ahead", coming))
    stream.reach(coming + timedelta(hours=2))
    sink.write()
    assert look(stream, max_future=timedelta(hours=9), clock_skew=timedelta(minutes=1)) == (0, [])
    assert stream.manifest(coming) is None


@pytest.mark.parametrize("at_once", [False, True])
def test_a_file_later_than_the_lookback_is_reported_and_in_no_manifest(stream: Stream, at_once: bool) -> None:
    sink = Sink(stream)
    old, stays = HOUR - timedelta(days=400), HOUR - timedelta(hours=47)
    stream.say_to(0, row("a", HOUR))
    stream.reach(HOUR + timedelta(minutes=5))
    if not at_once:
        sink.write()
        closed(stream)
    stream.say_to(0, row("old", old), row("stays", stays))
    stream.reach(HOUR + timedelta(hours=2))
    sink.write()
    _, refused = look(stream)
    key = f"{lake.RAW_EVENTS.hour(old)}{stream.events.topic}+0+0000000002.zstd.parquet"
    assert [line.partition(": ")[2] for line in refused] == [f"s3://{stream.lake.bucket}/{key}"]
    assert stream.manifest(old) is None
    assert stream.ids(stays) == ["stays"]


def test_a_refused_file_is_on_stderr_and_in_the_exit_code(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = Sink(stream)
    stream.say_to(0, row("a", HOUR), row("old", HOUR - timedelta(days=3)))
    sink.write()
    known = settings.load().model_copy(update={"events": stream.events})
    monkeypatch.setattr(settings, "load", lambda: known)
    monkeypatch.setattr(ObjectStore, "connect", lambda *_, **__: stream.lake)
    assert main([]) == 1
    assert f"{stream.events.topic}+0+0000000001.zstd.parquet" in capsys.readouterr().err
    assert main([]) == 0, "it is said once"


def test_a_topic_that_is_not_there_is_named(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connect.close_hours._TIMEOUT", 1)
    events = stream.events.model_copy(update={"brokers": "127.0.0.1:1", "client": {"log_level": "0"}})
    sink = SinkOffsets(events, GROUP)
    with pytest.raises(SinkUnreadableError, match=f"offsets of {events.topic} cannot be read"):
        sink.committed()
