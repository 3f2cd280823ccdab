"""A flush: the buffers of all partitions become durable, then hours are closed.

Data files and dead letters first, then the checkpoints that know them. One thread flushes, one time after the other;
reading goes on beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
from confluent_kafka import KafkaException

from adrank.contracts.settings import Events
from adrank.contracts.timestamps import from_micros
from adrank.kafka.producer import DeliveryError
from adrank.runtime.retry import RetryUntilStopped
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.archiver import dead_letters, hour_closer
from ingestion.archiver.buffer import PartitionBuffer, data_files
from ingestion.archiver.checkpoints import Checkpoint, OwnedCheckpoint, PendingFile
from ingestion.archiver.dead_letters import DeadLetterRecord, DeadLetterTopic
from ingestion.archiver.hour_closer import HourCloser
from ingestion.archiver.metrics import Metrics

_UPLOADS: Final = 8


@dataclass(frozen=True)
class _PartitionFlush:
    """One partition's part of a flush."""

    checkpoint: Checkpoint
    rows: pa.Table | None
    files: Sequence[PendingFile]
    refused: Sequence[DeadLetterRecord]
    refused_file: str | None
    messages: int


class Flusher:
    """The writing side of one instance: it owns the checkpoints of ``mine`` and, if told to, the closing of hours."""

    def __init__(
        self,
        store: ObjectStore,
        events: Events,
        metrics: Metrics,
        stop: threading.Event,
        partitions: int,
        mine: Sequence[int],
        *,
        closes_hours: bool,
    ) -> None:
        self._store = store
        self._events = events
        self._metrics = metrics
        self._retry = RetryUntilStopped(stop, _is_transient, metrics.retried)
        self._uploads = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        self._dead_letter_topic = DeadLetterTopic(events)
        self._checkpoints = {partition: self._acquire(partition) for partition in mine}
        self._hour_closer = self._retry.call(lambda: HourCloser(store, events, partitions)) if closes_hours else None
        #: How far hours are closed, as known since the last flush. For any thread.
        self.watermark = self._load_watermark()

    def checkpoint(self, partition: int) -> Checkpoint:
        """What is durable of a partition. For any thread."""
        return self._checkpoints[partition].current

    def flush(self, buffers: Mapping[int, PartitionBuffer], idle: Mapping[int, datetime]) -> None:
        """Make the buffers durable, in the order that the package describes, and close the hours that are due.

        ``idle`` says of the partitions that were read to their end and silent when that was seen.
        """
        if buffers:
            self._write(buffers, idle)
        if self._hour_closer is None:
            self.watermark = self._load_watermark()
            return
        result = self._retry.call(self._hour_closer.close)
        self.watermark = result.watermark
        self._metrics.closed(result.hours, result.revised, result.watermark)

    def close(self) -> None:
        """No flush is under way, and none follows."""
        self._uploads.shutdown()

    def _write(self, buffers: Mapping[int, PartitionBuffer], idle: Mapping[int, datetime]) -> None:
        with self._metrics.flush_seconds.time():
            bodies: dict[str, bytes] = {}
            parts = [self._prepare(number, buffer, idle.get(number), bodies) for number, buffer in buffers.items()]
            for upload in [self._uploads.submit(self._put, key, body) for key, body in bodies.items()]:
                upload.result()
            refused = {part.refused_file: part.refused for part in parts if part.refused_file is not None}
            if refused:
                self._retry.call(lambda: self._dead_letter_topic.send(refused))
            for part in parts:
                self._save(part)

    def _prepare(
        self, partition: int, buffer: PartitionBuffer, idle_at: datetime | None, bodies: dict[str, bytes]
    ) -> _PartitionFlush:
        """One partition's checkpoint; adds the files that it will name to ``bodies``."""
        before = self.checkpoint(partition)
        rows = buffer.table()
        files = list(data_files(rows, partition, before.next_offset)) if rows is not None else []
        bodies.update((file.key, file.body) for file in files)
        refused = dead_letters.records(self._events.topic, partition, buffer.dead, datetime.now(UTC))
        refused_file = None
        if refused:
            refused_file, bodies[refused_file] = dead_letters.file(refused)
        new = [file.pending for file in files]
        clock = None if buffer.clock is None else from_micros(buffer.clock)
        changed = {
            "next_offset": buffer.next_offset,
            "clock": clock,
            "began": before.began or clock,
            "idle_at": idle_at,
            "files": (*self._not_in_manifest(before.files), *new),
            "rows": before.rows + buffer.rows,
            "late_rows": before.late_rows + sum(file.late_rows for file in new),
            "dead_letters": before.dead_letters + len(refused),
        }
        return _PartitionFlush(before.model_copy(update=changed), rows, new, refused, refused_file, buffer.messages)

    def _load_watermark(self) -> datetime | None:
        return self._retry.call(lambda: hour_closer.watermark(self._store, self._events.topic))

    def _not_in_manifest(self, files: Sequence[PendingFile]) -> tuple[PendingFile, ...]:
        return self._retry.call(lambda: hour_closer.not_in_manifest(self._store, self._events.topic, files))

    def _put(self, key: str, body: bytes) -> None:
        self._retry.call(lambda: self._store.put(key, body))

    def _save(self, part: _PartitionFlush) -> None:
        self._retry.call(lambda: self._checkpoints[part.checkpoint.partition].save(part.checkpoint))
        self._metrics.landed(part.messages, part.files, part.refused, part.rows)

    def _acquire(self, partition: int) -> OwnedCheckpoint:
        return self._retry.call(lambda: OwnedCheckpoint.acquire(self._store, self._events.topic, partition))


def _is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later; Kafka's refusals may, whatever they are."""
    return (
        error.is_transient if isinstance(error, ObjectStoreError) else isinstance(error, DeliveryError | KafkaException)
    )
