"""Closes the hours that Kafka Connect's S3 sink fills: the archiver's manifests from the sink's files.

``python -m ingestion.connect.close_hours [--group connect-adrank-raw-events] [--bucket B]``, once a minute or so, in
one place. The sink commits an offset when everything before it is durable, so what starts before the committed offset
is whole; the partition's clock is the latest event in these files, or the message before the offset. From there on it
is the archiver's own closing. A file that is all too late or too far ahead for the archiver is in no manifest: its key
is on stderr and the exit code is 1.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pydantic import Field

from adrank.contracts import lake, settings
from adrank.contracts.entry_points.command_line import LakeArguments
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import HOUR, from_micros
from adrank.storage.documents import FencedError
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.archiver import hour_closer, messages
from ingestion.archiver.checkpoints import Checkpoint, OwnedCheckpoint, PendingFile
from ingestion.archiver.hour_closer import CloseResult, HourCloser
from ingestion.archiver.messages import Rejection
from ingestion.landing import event_table

GROUP: Final = "connect-adrank-raw-events"
_TIMEOUT: Final = 10
_WORKERS: Final = 8
_TIME: Final = event_table.EVENT_SCHEMA.field("event_time").type


class SinkUnreadableError(RuntimeError):
    """Kafka does not say how far the sink is."""


class SinkOffsets:
    """What the sink's consumer group has committed. Close it."""

    def __init__(self, events: Events, group: str) -> None:
        self._topic = events.topic
        address = {"bootstrap.servers": events.brokers, "group.id": group, "enable.auto.commit": False}
        self._consumer: Any = Consumer({**events.client, **address, "auto.offset.reset": "error"})

    def committed(self) -> dict[int, int]:
        """Partition -> the offset before which everything is durable; 0 where the sink has not committed yet."""
        try:
            partitions = self._consumer.list_topics(self._topic, timeout=_TIMEOUT).topics[self._topic].partitions
            wanted = [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
            return {at.partition: max(at.offset, 0) for at in self._consumer.committed(wanted, timeout=_TIMEOUT)}
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
        (found,) = messages.decode([message.value()])
        return None if isinstance(found, Rejection) else from_micros(found.event_time)

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()


class SinkFile(NamedTuple):
    """A file of the sink: the hour of its folder, and partition and first offset as its name says them."""

    key: str
    hour: datetime
    partition: int
    offset: int


def close_hours(store: ObjectStore, events: Events, sink: SinkOffsets, refuse: Callable[[str], None]) -> CloseResult:
    """Bring the checkpoints to where the sink is, and close what is due.

    ``refuse`` is told of each file that no manifest will name, as the archiver names no such events: why, and its key.

    :raises FencedError: somebody else does the same.
    """
    committed = sink.committed()
    owned = [OwnedCheckpoint.acquire(store, events.topic, partition) for partition in committed]
    behind = [own for own in owned if committed[own.current.partition] > (own.current.next_offset or 0)]
    found = _files(store, events.topic) if behind else []
    for own in behind:
        before, offset = own.current, committed[own.current.partition]
        new = [f for f in found if f.partition == before.partition and (before.next_offset or 0) <= f.offset < offset]
        own.save(_advanced(store, events, before, offset, sink.clock(before.partition, offset), new, refuse))
    return HourCloser(store, events, len(committed)).close()


def _advanced(
    store: ObjectStore,
    events: Events,
    before: Checkpoint,
    offset: int,
    last: datetime | None,
    new: Sequence[SinkFile],
    refuse: Callable[[str], None],
) -> Checkpoint:
    now = datetime.now(UTC)
    watermark = hour_closer.watermark(store, events.topic)
    reached = max((at for at in (before.clock, watermark) if at is not None), default=None)
    pending = []
    moments = [] if last is None else [last]
    for file in sorted(new, key=lambda file: file.offset):
        if why := _out_of_range(file, events, reached, now):
            refuse(f"{why}: s3://{store.bucket}/{file.key}")
        else:
            body = store.get(file.key)
            times = pq.read_table(pa.BufferReader(body), columns=["event_time"])["event_time"]
            moments.append(pc.max(times.cast(_TIME)).as_py())
            name, sha256 = file.key.rpartition("/")[2], hashlib.sha256(body).hexdigest()
            pending.append(PendingFile(hour=file.hour, name=name, rows=len(times), late_rows=0, sha256=sha256))
            # Where its first message stood the clock was in its hour at least; what begins later came later.
            reached = max(reached or file.hour, min(file.hour, now + events.clock_skew))
    # As with the archiver, a producer's wrong clock closes no hour early.
    moved = [min(at, now + events.clock_skew) for at in moments if at <= now + events.max_future]
    clock = max((at for at in (before.clock, *moved) if at is not None), default=None)
    if clock is None:
        return before
    return before.model_copy(
        update={
            "next_offset": offset,
            "clock": clock,
            "began": before.began or clock,
            "files": (*hour_closer.not_in_manifest(store, events.topic, before.files), *pending),
            "rows": before.rows + sum(file.rows for file in pending),
        }
    )


def _out_of_range(file: SinkFile, events: Events, reached: datetime | None, now: datetime) -> str | None:
    """Why the archiver would have none of the file's events; None when it would have some."""
    if file.hour > now + events.max_future:
        return "too far ahead of the wall clock"
    if reached is not None and file.hour + HOUR <= reached - events.allowed_lateness:
        return f"too far behind {reached.isoformat()}, where the log is"
    return None


def _files(store: ObjectStore, topic: str) -> list[SinkFile]:
    """All files of the sink that are in the lake, by their names alone: a late event's file may be in any hour."""
    root = lake.RAW_EVENTS.prefix
    shape = re.compile(rf"{root}(dt=[\d-]+/hr=\d\d)/{re.escape(topic)}\+(\d+)\+(\d+)\.[^/]*parquet")
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="listing") as pool:
        listed = pool.map(lambda day: [shape.fullmatch(key) for key in store.keys(day)], store.folders(root))
        return [
            SinkFile(found[0], lake.hour_of(found[1]), int(found[2]), int(found[3]))
            for day in listed
            for found in day
            if found
        ]


class CloseHoursArguments(LakeArguments):
    """Close the hours of an S3 sink."""

    program = "ingestion.connect.close_hours"

    group: str = Field(default=GROUP, description="the sink's consumer group: connect-<name of the connector>")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = CloseHoursArguments.parse(arguments)
    given = settings.load()
    sink = SinkOffsets(given.events, args.group)
    refused: list[str] = []

    def refuse(why: str) -> None:
        # At once: when the checkpoint is saved nobody looks at the file again.
        print(why, file=sys.stderr, flush=True)
        refused.append(why)

    try:
        closed = close_hours(ObjectStore.connect(args.bucket, region=given.region), given.events, sink, refuse)
    except (SinkUnreadableError, FencedError, ObjectStoreError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        sink.close()
    print(closed.model_dump_json())
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
