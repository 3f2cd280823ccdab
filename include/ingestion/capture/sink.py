"""Changes as they are delivered become files, then a checkpoint, then manifests; only then may the database forget.

The order holds under SIGKILL at any point. Files without a checkpoint are delivered and landed again and no manifest
ever names the first ones; files of a checkpoint without a manifest get it at the next start; what the engine was not
told that it landed is in the checkpoint's ``ahead`` or is delivered again.

An hour is closed when a heartbeat has passed its end: the log is in commit order, so nothing of that hour can follow,
but for changes that name an earlier time themselves. Those are counted as late and land in their hour all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from adrank.contracts import timestamps
from adrank.contracts.manifests import DataFile
from adrank.contracts.settings import Cdc
from adrank.contracts.timestamps import HOUR, floor_hour, from_micros
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.capture import metrics
from ingestion.capture.checkpoint import Ahead, Checkpoint, CheckpointStore, LandedFile
from ingestion.capture.envelopes import Change, EnvelopeError
from ingestion.landing import changes as cdc_hours
from ingestion.landing.changes import CdcTable

ROLL_ROWS: Final = 20_000
_BACK_OFF: Final = (0.5, 10.0)
_WORKERS: Final = 8
_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


class StoppedError(RuntimeError):
    """The process was told to stop while the object store refused; nothing is lost, it is delivered again."""


class Delivery(NamedTuple):
    """A change and the engine's own record of it."""

    change: Change
    record: Any


class Engine(Protocol):
    """What the lander needs of the engine."""

    def offset(self, record: Any) -> dict[str, str | int | bool | None]:
        """Where the engine goes on when it starts behind ``record``."""

    def acknowledge(self, record: Any) -> None:
        """Everything up to ``record`` is durable; the database may forget it."""


class ChangeSink:
    """Safe to call from the engine's thread and from the process's own; ``stop`` ends waiting for the object store."""

    def __init__(
        self,
        store: ObjectStore,
        checkpoints: CheckpointStore,
        checkpoint: Checkpoint,
        engine: Engine,
        settings: Cdc,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._checkpoint = checkpoint
        self._engine = engine
        self._settings = settings
        self._stop = stop
        self._lock = threading.Lock()
        self._ended = False
        self._held: dict[tuple[CdcTable, datetime], list[Change]] = {}
        self._rows = 0
        self._waits_since: float | None = None
        self._watermark = checkpoint.watermark
        # Where the closing of hours begins; several beats may come before the first roll.
        self._first_hour = checkpoint.closed
        self._oldest_commit: int | None = None
        self._in_snapshot = False
        self._snapshot_files: list[LandedFile] = []
        # The position of the newest record, how many came with it, and the last one of the position before.
        self._lsn: int | None = None
        self._at_lsn = 0
        self._record: Any = None
        self._behind: Any = None
        metrics.LAG.set_function(self.lag)

    def resume(self) -> None:
        """Write the manifests that an earlier process did not come to write."""
        with self._lock:
            self._settle()

    def take(self, deliveries: Iterable[Delivery]) -> None:
        """Take changes in the order of the log; returns when they are held, or landed where that was due."""
        with self._lock:
            if self._ended:
                return
            for delivery in deliveries:
                self._accept(delivery)
                if self._rows >= ROLL_ROWS:
                    self._roll()
            if self._is_due():
                self._roll()

    def tick(self) -> None:
        """Land what has waited long enough."""
        with self._lock:
            if not self._ended and self._is_due():
                self._roll()

    def finish(self) -> None:
        """Land what is held and take no more. A snapshot that has not ended is left: it begins anew."""
        with self._lock:
            self._ended = True
            if self._waits_since is not None and not self._in_snapshot:
                self._roll()

    def lag(self) -> float:
        """Seconds since the commit of the oldest change that has come and has not landed; 0 when nothing waits."""
        oldest = self._oldest_commit
        return 0.0 if oldest is None else max(0.0, time.time() - oldest / 1e6)

    def _accept(self, delivery: Delivery) -> None:
        change = delivery.change
        if change.lsn != self._lsn:
            self._lsn, self._at_lsn, self._behind = change.lsn, 0, self._record
        self._at_lsn += 1
        self._record = delivery.record
        self._in_snapshot = change.snapshot and not change.ends_snapshot
        if change.ends_snapshot:
            self._behind = self._record
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        ahead = self._checkpoint.ahead
        if ahead is not None and ahead.lsn == change.lsn and self._at_lsn <= ahead.records:
            return
        self._oldest_commit = self._oldest_commit or change.committed_us
        if change.table == self._settings.heartbeat_table:
            self._beat(change)
        else:
            self._held.setdefault((_captured(change.table), change.hour), []).append(change)
            self._rows += 1

    def _beat(self, change: Change) -> None:
        if not change.image or change.op == "d":
            return
        beat_at = change.image.get("beat_at")
        if not isinstance(beat_at, int):
            raise EnvelopeError(f"{change.table}.beat_at: {beat_at!r} is not a time")
        beat = from_micros(beat_at)
        self._watermark = max(self._watermark, beat) if self._watermark else beat
        self._first_hour = self._first_hour or floor_hour(beat)

    def _is_due(self) -> bool:
        if self._waits_since is None or self._in_snapshot:
            return False
        waited = time.monotonic() - self._waits_since
        if self._snapshot_files or waited >= self._settings.flush_interval.total_seconds():
            return True
        closed = self._checkpoint.closed
        return self._watermark is not None and (closed is None or self._watermark >= closed + HOUR)

    def _roll(self) -> None:
        files = self._persist(self._write)
        for changes in self._held.values():
            for change in changes:
                metrics.CHANGES.labels(change.table, change.op).inc()
        metrics.FILES.inc(len(files))
        rows, self._rows = self._rows, 0
        self._held.clear()
        self._snapshot_files += files
        if self._in_snapshot:
            return
        self._save()
        self._waits_since = None
        self._oldest_commit = None
        if rows:
            _LOG.info("landed %d changes in %d files", rows, len(files))
        self._settle()

    def _write(self) -> list[LandedFile]:
        def put(part: tuple[tuple[CdcTable, datetime], list[Change]]) -> LandedFile:
            (table, hour), changes = part
            file = cdc_hours.write_changes(self._store, table, hour, [change.line for change in changes])
            return LandedFile(table=table, hour=hour, file=file)

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="landing") as pool:
            return list(pool.map(put, self._held.items()))

    def _save(self) -> None:
        files = {(f.table, f.hour, f.file.name): f for f in (*self._checkpoint.files, *self._snapshot_files)}
        offset = self._checkpoint.offset if self._behind is None else self._engine.offset(self._behind)
        self._store_checkpoint(
            self._checkpoint.model_copy(
                update={
                    "offset": offset,
                    "ahead": self._ahead(),
                    "watermark": self._watermark,
                    "since": self._checkpoint.since or self._first_hour,
                    "closed": self._checkpoint.closed or self._first_hour,
                    "files": tuple(files.values()),
                }
            )
        )
        self._snapshot_files = []
        if self._behind is not None:
            self._engine.acknowledge(self._behind)

    def _ahead(self) -> Ahead | None:
        if self._lsn is None or self._behind is self._record:
            return None
        before = self._checkpoint.ahead
        # An earlier process may have landed more of this position than has come again.
        known = before.records if before is not None and before.lsn == self._lsn else 0
        return Ahead(lsn=self._lsn, records=max(self._at_lsn, known))

    def _settle(self) -> None:
        """Close the hours that the watermark has passed; a file of an hour that is closed joins its manifest."""
        watermark = self._checkpoint.watermark
        if watermark is None:
            return
        metrics.WATERMARK.set(watermark.timestamp())
        closable = floor_hour(watermark)
        closed = self._checkpoint.closed or closable
        files: dict[tuple[CdcTable, datetime], list[DataFile]] = {}
        for landed in self._checkpoint.files:
            if landed.hour < closable:
                files.setdefault((landed.table, landed.hour), []).append(landed.file)
        late = [part for part in files if part[1] < closed]

        def extend(part: tuple[CdcTable, datetime]) -> None:
            cdc_hours.add_to_manifest(self._store, *part, files.get(part, ()), watermark)

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="manifests") as pool:
            self._persist(lambda: list(pool.map(extend, late)))
        if self._checkpoint.closed is not None:
            for table, hour in late:
                metrics.LATE_CHANGES.labels(table).inc(sum(file.rows for file in files[table, hour]))
        for hour in timestamps.hours(closed, closable):
            for table in cdc_hours.TABLES:
                self._persist(lambda part=(table, hour): extend(part))  # type: ignore[misc]
            metrics.HOURS_CLOSED.inc()
            _LOG.info("closed %s", hour.isoformat())
        self._store_checkpoint(
            self._checkpoint.model_copy(
                update={
                    "since": self._checkpoint.since or closed,
                    "closed": closable,
                    "files": tuple(landed for landed in self._checkpoint.files if landed.hour >= closable),
                }
            )
        )

    def _store_checkpoint(self, checkpoint: Checkpoint) -> None:
        if checkpoint != self._checkpoint:
            self._persist(lambda: self._checkpoints.save(checkpoint))
            self._checkpoint = checkpoint

    def _persist(self, write: Callable[[], _T]) -> _T:
        """Repeat ``write`` until the object store takes it."""
        delay, longest = _BACK_OFF
        while True:
            try:
                return write()
            except ObjectStoreError as error:
                metrics.RETRIES.inc()
                _LOG.warning("waiting %g s for the object store: %s", delay, error)
                if self._stop.wait(delay):
                    raise StoppedError(f"stopped while the object store refused: {error}") from error
                delay = min(2 * delay, longest)


def _captured(table: str) -> CdcTable:
    for known in cdc_hours.TABLES:
        if table == known:
            return known
    raise EnvelopeError(f"{table}: changes of this table were not asked for")
