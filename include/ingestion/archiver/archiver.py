"""The loop: read, hold, hand over.

What is held is handed over whole, to be made durable (:mod:`ingestion.archiver.flush`) while the next is read. No more
than one roll is under way: while a store refuses, at most one more is held and then nothing is read. What waits, waits
in Kafka.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Final

from adrank.contracts.settings import Events
from adrank.contracts.timestamps import micros
from adrank.storage.object_store import ObjectStore
from ingestion.archiver.buffer import Held
from ingestion.archiver.consumer import Source, owned
from ingestion.archiver.decoding import Rules, decode
from ingestion.archiver.flush import Flusher
from ingestion.archiver.hour_closer import IDLE_AGAIN
from ingestion.archiver.metrics import Metrics

_log = logging.getLogger(__name__)
_POLL_SECONDS: Final = 0.2
_COUNT_EVERY: Final = 60.0


class PartitionsChangedError(RuntimeError):
    """The topic got more partitions: a restart reads them too."""


class Archiver:
    """One instance. :meth:`run` returns when ``stop`` is set and everything that was held is durable."""

    def __init__(
        self, store: ObjectStore, events: Events, metrics: Metrics, stop: threading.Event, instance: int, instances: int
    ) -> None:
        self._events = events
        self._stop = stop
        self._rules = Rules.of(events)
        self._source = Source(events)
        self._partitions = self._source.partitions(stop)
        self._counted_at = time.monotonic()
        mine = owned(self._partitions, instance, instances)
        self._rolls = Flusher(store, events, metrics, stop, self._partitions, mine, closes_hours=instance == 0)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="roll")
        self._writing: Future[None] | None = None
        self._wrote_at = time.monotonic()
        self._held = {partition: self._last_durable(partition) for partition in mine}
        self._source.assign({partition: held.next_offset for partition, held in self._held.items()})
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
            self._writer.shutdown()
            self._rolls.close()
            self._source.close()

    def step(self) -> None:
        """Read once; hand over what is due. Raises what the last roll failed of."""
        for partition, messages in self._source.poll(_POLL_SECONDS).items():
            held, watermark = self._held[partition], _known_micros(self._rolls.watermark)
            held.add(decode(messages, held.clock, self._rules, micros(datetime.now(UTC)), watermark))
        if self._writing is not None and self._writing.done():
            self._wait()
        if self._is_due() or self._is_quiet():
            self._hand_over()

    def finish(self) -> None:
        """Return when all that is held is durable, and hours that are due are closed."""
        self._hand_over()
        self._wait()

    def _is_due(self) -> bool:
        held = self._held.values()
        oldest = min((each.oldest for each in held if each.oldest is not None), default=None)
        return (
            sum(each.rows for each in held) >= self._events.flush_rows
            or sum(each.size for each in held) >= self._events.flush_bytes
            or (oldest is not None and time.monotonic() - oldest >= self._events.flush_interval.total_seconds())
        )

    def _is_quiet(self) -> bool:
        """Whether hours should be looked at without news, or a checkpoint must say that its partition is idle."""
        if self._writing is not None:
            return False
        age = time.monotonic() - self._wrote_at
        return age >= self._events.flush_interval.total_seconds() or any(map(self._idleness_is_news, self._held))

    def _idleness_is_news(self, partition: int) -> bool:
        """Whether the checkpoint must say that the partition is idle, or say it again."""
        if not self._source.is_idle(partition):
            return False
        said = self._rolls.checkpoint(partition).idle_at
        return said is None or datetime.now(UTC) - said >= max(self._events.idle_timeout, IDLE_AGAIN)

    def _hand_over(self) -> None:
        """Have what is held made durable, once the roll before it is."""
        self._wait()
        self._require_partitions()
        rolled = {
            partition: held
            for partition, held in self._held.items()
            if held.messages or self._idleness_is_news(partition)
        }
        now = datetime.now(UTC)
        idle = {partition: now for partition in rolled if self._source.is_idle(partition)}
        self._held.update({partition: Held(held.next_offset, held.clock) for partition, held in rolled.items()})
        self._writing = self._writer.submit(self._rolls.write, rolled, idle)

    def _wait(self) -> None:
        """Let the roll under way end; then Kafka's tools may know: from here, reading keeps other threads waiting."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        writing.result()
        self._wrote_at = time.monotonic()
        self._source.commit({partition: self._rolls.checkpoint(partition).next_offset for partition in self._held})

    def _require_partitions(self) -> None:
        if time.monotonic() - self._counted_at < _COUNT_EVERY:
            return
        self._counted_at = time.monotonic()
        count = self._source.partition_count()
        if count and count != self._partitions:
            raise PartitionsChangedError(f"{self._events.topic} now has {count} partitions, not {self._partitions}")

    def _last_durable(self, partition: int) -> Held:
        known = self._rolls.checkpoint(partition)
        return Held(known.next_offset, _known_micros(known.clock))

    def _lag(self, partition: int) -> int | None:
        return self._source.lag(partition, self._rolls.checkpoint(partition).next_offset)


def _known_micros(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)
