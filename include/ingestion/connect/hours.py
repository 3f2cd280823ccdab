"""Closes the hours that Kafka Connect's S3 sink fills: the archiver's manifests from the sink's files.

``python -m ingestion.connect.hours [--group connect-adrank-raw-events] [--bucket B]``, once a minute or so, in one
place. The sink commits an offset when everything before it is durable, so what starts before the committed offset is
whole; the event before it says how far the partition's clock is. From there on it is the archiver's own closing.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaException, TopicPartition

from adrank.contracts import lake, settings
from adrank.contracts.settings import Events
from ingestion import event_messages
from ingestion.archiver import hours
from ingestion.archiver.checkpoints import Checkpoint, OwnedCheckpoint, PendingFile, TakenOverError
from ingestion.archiver.decoding import moment
from ingestion.archiver.hours import Closed, Hours
from ingestion.event_messages import Refusal
from ingestion.object_store import ObjectStore, ObjectStoreError

GROUP: Final = "connect-adrank-raw-events"
_TIMEOUT: Final = 10


class SinkUnreadableError(RuntimeError):
    """Kafka does not say how far the sink is."""


class SinkPosition:
    """What the sink's consumer group has committed. Close it."""

    def __init__(self, events: Events, group: str) -> None:
        self._topic = events.topic
        address = {"bootstrap.servers": events.brokers, "group.id": group, "enable.auto.commit": False}
        self._consumer: Any = Consumer({**events.client, **address, "auto.offset.reset": "error"})

    def committed(self) -> dict[int, int]:
        """Partition -> the offset before which everything is durable; 0 where the sink has not committed yet."""
        try:
            partitions = self._consumer.list_topics(self._topic, timeout=_TIMEOUT).topics[self._topic].partitions
            asked = [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
            return {at.partition: max(at.offset, 0) for at in self._consumer.committed(asked, timeout=_TIMEOUT)}
        except KafkaException as error:
            raise SinkUnreadableError(f"offsets of {self._topic} cannot be read: {error}") from error

    def clock(self, partition: int, offset: int) -> datetime | None:
        """The event time of the message before ``offset``; None when there is none, or it is no event."""
        if offset == 0:
            return None
        self._consumer.assign([TopicPartition(self._topic, partition, offset - 1)])
        message = self._consumer.poll(_TIMEOUT)
        if message is None or message.error() is not None:
            why = message.error() if message else "no answer"
            raise SinkUnreadableError(f"partition {partition} of {self._topic} at offset {offset - 1}: {why}")
        (found,) = event_messages.decode([message.value()])
        return None if isinstance(found, Refusal) else moment(found.event_time)

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()


def close_hours(store: ObjectStore, events: Events, sink: SinkPosition) -> Closed:
    """Bring the checkpoints to where the sink is, and close what is due.

    :raises TakenOverError: somebody else does the same.
    """
    committed = sink.committed()
    for partition, offset in committed.items():
        owned = OwnedCheckpoint.take_over(store, events.topic, partition)
        before = owned.current
        if offset > (before.next_offset or 0):
            owned.save(_advanced(store, events, before, offset, sink.clock(partition, offset)))
    return Hours(store, events, len(committed)).close()


def _advanced(
    store: ObjectStore, events: Events, before: Checkpoint, offset: int, reached: datetime | None
) -> Checkpoint:
    clock = max((at for at in (before.clock, reached) if at is not None), default=None)
    new = tuple(_new_files(store, events, before, offset, clock)) if clock else ()
    return before.model_copy(
        update={
            "next_offset": offset,
            "clock": clock,
            "began": before.began or clock,
            "files": (*hours.unnamed(store, events.topic, before.files), *new),
            "rows": before.rows + sum(file.rows for file in new),
        }
    )


def _new_files(
    store: ObjectStore, events: Events, before: Checkpoint, offset: int, clock: datetime
) -> Iterator[PendingFile]:
    """Files of the partition that begin behind the checkpoint and before the committed offset."""
    name_of_ours = re.compile(rf"{re.escape(events.topic)}\+{before.partition}\+(\d+)\..*parquet")
    first = lake.floor_hour(clock - events.late_lookback)
    for hour in lake.hours(first, clock + events.grace + lake.HOUR):
        prefix = lake.raw_events(hour)
        for key in store.keys(prefix):
            name = key.removeprefix(prefix)
            found = name_of_ours.fullmatch(name)
            if found and (before.next_offset or 0) <= int(found[1]) < offset:
                body = store.get(key)
                rows = pq.read_metadata(pa.BufferReader(body)).num_rows
                yield PendingFile(hour=hour, name=name, rows=rows, late_rows=0, sha256=hashlib.sha256(body).hexdigest())


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    known = settings.load()
    parser = argparse.ArgumentParser(prog="ingestion.connect.hours", description="Close the hours of an S3 sink.")
    parser.add_argument("--group", default=GROUP, help="the sink's consumer group: connect-<name of the connector>")
    parser.add_argument("--bucket", default=known.lake.bucket, help="bucket of the lake")
    chosen = parser.parse_args(arguments)
    sink = SinkPosition(known.events, chosen.group)
    try:
        closed = close_hours(ObjectStore.connect(chosen.bucket, region=known.region), known.events, sink)
    except (SinkUnreadableError, TakenOverError, ObjectStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        sink.close()
    print(closed.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
