"""The loop: read, hold, roll, close.

A roll makes everything that is held durable, of all partitions of this instance: data files and dead letters first,
then the checkpoints that know them, then Kafka's offsets. While a store refuses, nothing more is read: what waits,
waits in Kafka.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa

from adrank.contracts.settings import Events
from ingestion.archiver import dead_letters, hours
from ingestion.archiver.checkpoints import Checkpoint, OwnedCheckpoint, PendingFile
from ingestion.archiver.dead_letters import DeadLetterTopic, Refused
from ingestion.archiver.decoding import Rules, decode, micros, moment
from ingestion.archiver.hours import Hours
from ingestion.archiver.metrics import Metrics
from ingestion.archiver.partition import Held, data_files
from ingestion.archiver.patience import Patience
from ingestion.archiver.source import Source, owned
from ingestion.object_store import ObjectStore

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_POLL_SECONDS: Final = 0.2
_UPLOADS: Final = 8
_COUNT_EVERY: Final = 60.0


class PartitionsChangedError(RuntimeError):
    """The topic got more partitions: a restart reads them too."""


@dataclass(frozen=True)
class _Roll:
    """One partition's part of a roll."""

    checkpoint: Checkpoint
    rows: pa.Table | None
    files: Sequence[PendingFile]
    refused: Sequence[Refused]
    messages: int


class Archiver:
    """One instance. :meth:`run` returns when ``stop`` is set and everything that was held is durable."""

    def __init__(
        self, store: ObjectStore, events: Events, metrics: Metrics, stop: threading.Event, instance: int, instances: int
    ) -> None:
        self._store = store
        self._events = events
        self._metrics = metrics
        self._stop = stop
        self._patience = Patience(stop, metrics.retried)
        self._rules = Rules.of(events)
        self._uploads = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        self._source = Source(events)
        self._dead_letter_topic = DeadLetterTopic(events)
        self._partitions = self._source.partitions(stop)
        mine = owned(self._partitions, instance, instances)
        self._checkpoints = {partition: self._take_over(partition) for partition in mine}
        self._held = {partition: self._nothing(partition) for partition in mine}
        self._hours = self._until_done(lambda: Hours(store, events, self._partitions)) if instance == 0 else None
        self._closed_at = self._counted_at = time.monotonic()
        self._source.assign({partition: held.next_offset for partition, held in self._held.items()})
        for partition in mine:
            metrics.watch_lag(partition, partial(self._lag, partition))
        _log.info("Archiving partitions %s of %s", list(mine), events.topic)

    def run(self) -> None:
        """Archive until stopped; raises what cannot be waited out."""
        try:
            while not self._stop.is_set():
                self.step()
            self._roll()
            self._close_hours()
        finally:
            self._uploads.shutdown()
            self._source.close()

    def step(self) -> None:
        """Read once; roll and close what is due."""
        for partition, messages in self._source.poll(_POLL_SECONDS).items():
            held = self._held[partition]
            held.add(decode(messages, held.clock, self._rules, micros(datetime.now(UTC))))
        if self._is_due():
            self._roll()
            self._close_hours()
        elif time.monotonic() - self._closed_at >= self._events.roll_age.total_seconds():
            self._close_hours()

    def _is_due(self) -> bool:
        held = self._held.values()
        oldest = min((each.oldest for each in held if each.oldest is not None), default=None)
        return (
            sum(each.rows for each in held) >= self._events.roll_rows
            or sum(each.size for each in held) >= self._events.roll_bytes
            or (oldest is not None and time.monotonic() - oldest >= self._events.roll_age.total_seconds())
            or any(self._idleness_is_news(partition) for partition in self._held)
        )

    def _idleness_is_news(self, partition: int) -> bool:
        """Whether the checkpoint must say that the partition is idle, or say it again."""
        said = self._checkpoints[partition].current.idle_at
        if not self._source.is_idle(partition):
            return False
        return said is None or datetime.now(UTC) - said >= max(self._events.idle_after, hours.IDLE_AGAIN)

    def _roll(self) -> None:
        """Make durable what is held, in the order that the package describes."""
        with self._metrics.flush_seconds.time():
            bodies: dict[str, bytes] = {}
            rolls = [
                self._prepare(partition, bodies)
                for partition, held in self._held.items()
                if held.messages or self._idleness_is_news(partition)
            ]
            for done in [self._uploads.submit(self._put, key, body) for key, body in bodies.items()]:
                done.result()
            refused = [record for roll in rolls for record in roll.refused]
            if refused:
                self._until_done(lambda: self._dead_letter_topic.send(refused))
            for roll in rolls:
                self._save(roll)
        self._source.commit(
            {r.checkpoint.partition: r.checkpoint.next_offset for r in rolls if r.checkpoint.next_offset}
        )

    def _prepare(self, partition: int, bodies: dict[str, bytes]) -> _Roll:
        """One partition's checkpoint; adds the files that it will name to ``bodies``."""
        held, before = self._held[partition], self._checkpoints[partition].current
        rows = held.table()
        files = list(data_files(rows, partition, before.next_offset)) if rows is not None else []
        bodies.update((file.key, file.body) for file in files)
        refused = dead_letters.records(self._events.topic, partition, held.dead, datetime.now(UTC))
        if refused:
            bodies.update([dead_letters.file(refused)])
        new = [file.pending for file in files]
        clock = None if held.clock is None else moment(held.clock)
        changed = {
            "next_offset": held.next_offset,
            "clock": clock,
            "began": before.began or clock,
            "idle_at": datetime.now(UTC) if self._source.is_idle(partition) else None,
            "files": (*self._unnamed(before.files), *new),
            "rows": before.rows + held.rows,
            "late_rows": before.late_rows + sum(file.late_rows for file in new),
            "dead_letters": before.dead_letters + len(refused),
        }
        return _Roll(before.model_copy(update=changed), rows, new, refused, held.messages)

    def _unnamed(self, files: Sequence[PendingFile]) -> tuple[PendingFile, ...]:
        return self._until_done(lambda: hours.unnamed(self._store, self._events.topic, files))

    def _put(self, key: str, body: bytes) -> None:
        self._until_done(lambda: self._store.put(key, body))

    def _save(self, roll: _Roll) -> None:
        partition = roll.checkpoint.partition
        self._until_done(lambda: self._checkpoints[partition].save(roll.checkpoint))
        self._held[partition] = self._nothing(partition)
        self._metrics.landed(roll.messages, roll.files, roll.refused, roll.rows)

    def _take_over(self, partition: int) -> OwnedCheckpoint:
        return self._until_done(lambda: OwnedCheckpoint.take_over(self._store, self._events.topic, partition))

    def _nothing(self, partition: int) -> Held:
        known = self._checkpoints[partition].current
        return Held(known.next_offset, None if known.clock is None else micros(known.clock))

    def _close_hours(self) -> None:
        self._closed_at = time.monotonic()
        if self._hours is None:
            return
        self._require_partitions()
        done = self._until_done(self._hours.close)
        self._metrics.closed(done.hours, done.revised, done.watermark)

    def _require_partitions(self) -> None:
        if self._closed_at - self._counted_at < _COUNT_EVERY:
            return
        self._counted_at = self._closed_at
        count = self._source.partition_count()
        if count and count != self._partitions:
            raise PartitionsChangedError(f"{self._events.topic} now has {count} partitions, not {self._partitions}")

    def _lag(self, partition: int) -> int | None:
        return self._source.lag(partition, self._checkpoints[partition].current.next_offset)

    def _until_done(self, work: Callable[[], _T]) -> _T:
        return self._patience.until_done(work)
