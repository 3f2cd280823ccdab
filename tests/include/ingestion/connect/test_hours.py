"""Hours that Kafka Connect's sink fills: only what the sink has committed is in a manifest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from adrank.contracts import lake
from ingestion import event_table
from ingestion.archiver.decoding import Rules, decode
from ingestion.connect.hours import GROUP, SinkPosition, SinkUnreadableError, close_hours
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
            table = decode([message], None, Rules.of(self._stream.events), 2**60).table.select(
                event_table.EVENT_SCHEMA.names
            )
            if table.num_rows:
                hour = lake.floor_hour(table["event_time"][0].as_py())
                name = f"{self._stream.events.topic}+{partition}+{message.offset():010d}.zstd.parquet"
                self._stream.lake.put(lake.raw_events(hour) + name, event_table.parquet_bytes(table))


def closed(stream: Stream) -> int:
    sink = SinkPosition(stream.events, GROUP)
    try:
        return close_hours(stream.lake, stream.events, sink).hours
    finally:
        sink.close()


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
    stream.lake.put(lake.raw_events(HOUR) + torn, b"half a file")
    closed(stream)
    assert stream.ids(HOUR) == ["a"]


def test_a_topic_that_is_not_there_is_named(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.connect.hours._TIMEOUT", 1)
    events = stream.events.model_copy(update={"brokers": "127.0.0.1:1", "client": {"log_level": "0"}})
    sink = SinkPosition(events, GROUP)
    with pytest.raises(SinkUnreadableError, match=f"offsets of {events.topic} cannot be read"):
        sink.committed()
