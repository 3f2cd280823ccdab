"""The loop: read, buffer, flush.

Buffers are handed over whole, to be made durable (:mod:`ingestion.archiver.flush`) while the next ones fill. No more
than one flush is under way: while a store refuses, one more set of buffers fills and then nothing is read. What waits,
waits in Kafka.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pyarrow as pa

from adrank.contracts.settings import Events
from adrank.contracts.timestamps import micros
from adrank.storage.object_store import ObjectStore
from ingestion.archiver.buffer import PartitionBuffer
from ingestion.archiver.consumer import PartitionConsumer, assigned_partitions
from ingestion.archiver.decoding import EventTimeLimits, decode
from ingestion.archiver.flush import Flusher
from ingestion.archiver.hour_closer import IDLE_REPORT_INTERVAL
from ingestion.archiver.metrics import Metrics

_log = logging.getLogger(__name__)
_POLL_SECONDS: Final = 0.2
_COUNT_INTERVAL: Final = 60.0


class PartitionsChangedError(RuntimeError):
    """The topic got more partitions: a restart reads them too."""


class Archiver:
    """One instance. :meth:`run` returns when ``stop`` is set and everything that was read is durable."""

    def __init__(
        self, store: ObjectStore, events: Events, metrics: Metrics, stop: threading.Event, instance: int, instances: int
    ) -> None:
        self._events = events
        self._stop = stop
        self._limits = EventTimeLimits.of(events)
        self._consumer = PartitionConsumer(events)
        self._partitions = self._consumer.partitions(stop)
        self._partitions_counted_at = time.monotonic()
        mine = assigned_partitions(self._partitions, instance, instances)
        self._flusher = Flusher(store, events, metrics, stop, self._partitions, mine, closes_hours=instance == 0)
        self._flushing_thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flush: Future[None] | None = None
        self._flushed_at = time.monotonic()
        self._buffers = {partition: self._last_durable(partition) for partition in mine}
        self._consumer.assign({partition: buffer.next_offset for partition, buffer in self._buffers.items()})
        for number in mine:
            metrics.watch_lag(number, partial(self._lag, number))
        _log.info("Archiving partitions %s of %s", list(mine), events.topic)

    def run(self) -> None:
        """Archive until stopped; raises what cannot be waited out."""
        try:
            while not self._stop.is_set():
                self.step()
            self.finish()
        finally:
            self._stop.set()
            self._flushing_thread.shutdown()
            self._flusher.close()
            self._consumer.close()

    def step(self) -> None:
        """Read once; flush what is due. Raises what the last flush failed of."""
        for partition, messages in self._consumer.poll(_POLL_SECONDS).items():
            buffer, watermark = self._buffers[partition], _optional_micros(self._flusher.watermark)
            buffer.add(decode(messages, buffer.clock, self._limits, micros(datetime.now(UTC)), watermark))
        if self._flush is not None and self._flush.done():
            self._wait_for_flush()
        if self._is_due() or self._is_quiet():
            self._start_flush()

    def finish(self) -> None:
        """Return when all that was read is durable, and hours that are due are closed."""
        self._start_flush()
        self._wait_for_flush()

    def _is_due(self) -> bool:
        buffers = self._buffers.values()
        oldest = min((buffer.oldest for buffer in buffers if buffer.oldest is not None), default=None)
        return (
            sum(buffer.rows for buffer in buffers) >= self._events.flush_rows
            or sum(buffer.size for buffer in buffers) >= self._events.flush_bytes
            or (oldest is not None and time.monotonic() - oldest >= self._events.flush_interval.total_seconds())
        )

    def _is_quiet(self) -> bool:
        """Whether hours should be looked at without news, or a checkpoint must say that its partition is idle."""
        if self._flush is not None:
            return False
        age = time.monotonic() - self._flushed_at
        return age >= self._events.flush_interval.total_seconds() or any(map(self._idleness_is_news, self._buffers))

    def _idleness_is_news(self, partition: int) -> bool:
        """Whether the checkpoint must say that the partition is idle, or say it again."""
        if not self._consumer.is_idle(partition):
            return False
        reported = self._flusher.checkpoint(partition).idle_at
        return reported is None or datetime.now(UTC) - reported >= max(self._events.idle_timeout, IDLE_REPORT_INTERVAL)

    def _start_flush(self) -> None:
        """Hand the buffers over, once the flush before is done."""
        self._wait_for_flush()
        self._require_partitions()
        filled = {
            partition: buffer
            for partition, buffer in self._buffers.items()
            if buffer.messages or self._idleness_is_news(partition)
        }
        now = datetime.now(UTC)
        idle = {partition: now for partition in filled if self._consumer.is_idle(partition)}
        for partition, buffer in filled.items():
            self._buffers[partition] = PartitionBuffer(buffer.next_offset, buffer.clock)
        self._flush = self._flushing_thread.submit(self._flusher.flush, filled, idle)

    def _wait_for_flush(self) -> None:
        """Let the flush under way end; then Kafka's tools may know: from here, reading keeps other threads waiting."""
        if self._flush is None:
            return
        flush, self._flush = self._flush, None
        flush.result()
        self._flushed_at = time.monotonic()
        self._consumer.commit({number: self._flusher.checkpoint(number).next_offset for number in self._buffers})

    def _require_partitions(self) -> None:
        if time.monotonic() - self._partitions_counted_at < _COUNT_INTERVAL:
            return
        self._partitions_counted_at = time.monotonic()
        count = self._consumer.partition_count()
        if count and count != self._partitions:
            raise PartitionsChangedError(f"{self._events.topic} now has {count} partitions, not {self._partitions}")

    def _last_durable(self, partition: int) -> PartitionBuffer:
        checkpoint = self._flusher.checkpoint(partition)
        return PartitionBuffer(checkpoint.next_offset, _optional_micros(checkpoint.clock))

    def _lag(self, partition: int) -> int | None:
        return self._consumer.lag(partition, self._flusher.checkpoint(partition).next_offset)


def tune_process() -> None:
    """What a process that decodes all day wants.

    The memory that rows are held in is kept for the next flush: giving it back and taking it again costs a tenth. And
    thousands of messages at once are no reason to look for cycles, of which there are none: that costs a fifth.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    gc.set_threshold(100_000, 20, 20)


def _optional_micros(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)
