"""A roll: what was held of all partitions becomes durable, then hours are closed.

Data files and dead letters first, then the checkpoints that know them. One thread writes rolls, one after the other;
reading goes on beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import pyarrow as pa

from adrank.contracts.settings import Events
from adrank.contracts.timestamps import from_micros
from adrank.storage.object_store import ObjectStore
from ingestion.archiver import dead_letters, hour_closer
from ingestion.archiver.buffer import Held, data_files
from ingestion.archiver.checkpoints import Checkpoint, OwnedCheckpoint, PendingFile
from ingestion.archiver.dead_letters import DeadLetterTopic, Refused
from ingestion.archiver.hour_closer import Hours
from ingestion.archiver.metrics import Metrics
from ingestion.archiver.patience import Patience

_T = TypeVar("_T")
_UPLOADS: Final = 8


@dataclass(frozen=True)
class _PartitionFlush:
    """One partition's part of a roll."""

    checkpoint: Checkpoint
    rows: pa.Table | None
    files: Sequence[PendingFile]
    refused: Sequence[Refused]
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
        self._patience = Patience(stop, metrics.retried)
        self._uploads = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        self._dead_letter_topic = DeadLetterTopic(events)
        self._checkpoints = {partition: self._take_over(partition) for partition in mine}
        self._hours = self._until_done(lambda: Hours(store, events, partitions)) if closes_hours else None
        #: How far hours are closed, as known since the last roll. For any thread.
        self.watermark = self._read_watermark()

    def checkpoint(self, partition: int) -> Checkpoint:
        """What is durable of a partition. For any thread."""
        return self._checkpoints[partition].current

    def write(self, held: Mapping[int, Held], idle: Mapping[int, datetime]) -> None:
        """Make durable what was held, in the order that the package describes, and close the hours that are due.

        ``idle`` says of the partitions that were read to their end and silent when that was seen.
        """
        if held:
            self._roll(held, idle)
        if self._hours is None:
            self.watermark = self._read_watermark()
            return
        done = self._until_done(self._hours.close)
        self.watermark = done.watermark
        self._metrics.closed(done.hours, done.revised, done.watermark)

    def close(self) -> None:
        """No roll is under way, and none follows."""
        self._uploads.shutdown()

    def _roll(self, held: Mapping[int, Held], idle: Mapping[int, datetime]) -> None:
        with self._metrics.flush_seconds.time():
            bodies: dict[str, bytes] = {}
            rolls = [self._prepare(partition, held[partition], idle.get(partition), bodies) for partition in held]
            for done in [self._uploads.submit(self._put, key, body) for key, body in bodies.items()]:
                done.result()
            refused = {roll.refused_file: roll.refused for roll in rolls if roll.refused_file is not None}
            if refused:
                self._until_done(lambda: self._dead_letter_topic.send(refused))
            for roll in rolls:
                self._save(roll)

    def _prepare(
        self, partition: int, held: Held, idle_at: datetime | None, bodies: dict[str, bytes]
    ) -> _PartitionFlush:
        """One partition's checkpoint; adds the files that it will name to ``bodies``."""
        before = self.checkpoint(partition)
        rows = held.table()
        files = list(data_files(rows, partition, before.next_offset)) if rows is not None else []
        bodies.update((file.key, file.body) for file in files)
        refused = dead_letters.records(self._events.topic, partition, held.dead, datetime.now(UTC))
        refused_file = None
        if refused:
            refused_file, bodies[refused_file] = dead_letters.file(refused)
        new = [file.pending for file in files]
        clock = None if held.clock is None else from_micros(held.clock)
        changed = {
            "next_offset": held.next_offset,
            "clock": clock,
            "began": before.began or clock,
            "idle_at": idle_at,
            "files": (*self._unnamed(before.files), *new),
            "rows": before.rows + held.rows,
            "late_rows": before.late_rows + sum(file.late_rows for file in new),
            "dead_letters": before.dead_letters + len(refused),
        }
        return _PartitionFlush(before.model_copy(update=changed), rows, new, refused, refused_file, held.messages)

    def _read_watermark(self) -> datetime | None:
        return self._until_done(lambda: hour_closer.watermark(self._store, self._events.topic))

    def _unnamed(self, files: Sequence[PendingFile]) -> tuple[PendingFile, ...]:
        return self._until_done(lambda: hour_closer.unnamed(self._store, self._events.topic, files))

    def _put(self, key: str, body: bytes) -> None:
        self._until_done(lambda: self._store.put(key, body))

    def _save(self, roll: _PartitionFlush) -> None:
        self._until_done(lambda: self._checkpoints[roll.checkpoint.partition].save(roll.checkpoint))
        self._metrics.landed(roll.messages, roll.files, roll.refused, roll.rows)

    def _take_over(self, partition: int) -> OwnedCheckpoint:
        return self._until_done(lambda: OwnedCheckpoint.acquire(self._store, self._events.topic, partition))

    def _until_done(self, work: Callable[[], _T]) -> _T:
        return self._patience.until_done(work)
