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

from prometheus_client import Counter, Gauge

from adrank.contracts import metrics as names
from adrank.contracts import timestamps
from adrank.contracts.manifests import DataFile
from adrank.contracts.settings import Cdc
from adrank.contracts.timestamps import HOUR, floor_hour, from_micros
from adrank.runtime.retry import RetryUntilStopped
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.capture.checkpoint import Ahead, Checkpoint, CheckpointStore, LandedFile
from ingestion.capture.envelopes import Change, EnvelopeError
from ingestion.landing.changes import TABLES, CdcTable, add_to_manifest, write_changes

FLUSH_ROWS: Final = 20_000
_PAUSES: Final = (0.5, 10.0)
_WORKERS: Final = 8
_LOG: Final = logging.getLogger(__name__)
CHANGES: Final = Counter(names.CAPTURE_CHANGES, "Changes that are durable, by Debezium's operation", ["table", "op"])
LATE_CHANGES: Final = Counter(
    names.CAPTURE_LATE_CHANGES, "Changes that landed in an hour that was closed before", ["table"]
)
LAG: Final = Gauge(
    names.CAPTURE_LAG_SECONDS, "Since the commit of the oldest change that waits to land; 0 when none waits"
)
FILES: Final = Counter(names.CAPTURE_FILES, "Files of change data written")
RETRIES: Final = Counter(names.CAPTURE_RETRIES, "Times that the object store refused and was asked again")
HOURS_CLOSED: Final = Counter(names.CAPTURE_HOURS_CLOSED, "Hours closed")
WATERMARK: Final = Gauge(names.CAPTURE_WATERMARK, "The newest heartbeat, in seconds since the epoch")
_Result = TypeVar("_Result")


class StoppedError(RuntimeError):
    """The process was told to stop while the object store refused; nothing is lost, it is delivered again."""


class ChangeRecord(NamedTuple):
    """A change and the engine's own record of it."""

    change: Change
    record: Any


class Engine(Protocol):
    """What the sink needs of the engine."""

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
        # Whatever the store says, the database keeps its log until somebody has mended it.
        self._retry = RetryUntilStopped(stop, lambda e: isinstance(e, ObjectStoreError), RETRIES.inc, _PAUSES)
        self._lock = threading.Lock()
        self._ended = False
        self._buffered: dict[tuple[CdcTable, datetime], list[Change]] = {}
        self._buffered_rows = 0
        self._waiting_since: float | None = None
        self._watermark = checkpoint.watermark
        # Where the closing of hours begins; several heartbeats may come before the first flush.
        self._first_hour = checkpoint.closed
        self._oldest_commit: int | None = None
        self._in_snapshot = False
        self._snapshot_files: list[LandedFile] = []
        # The position of the newest record, how many came with it, and the last one of the position before.
        self._lsn: int | None = None
        self._at_lsn = 0
        self._last_record: Any = None
        self._last_complete_record: Any = None
        LAG.set_function(self.lag)

    def recover(self) -> None:
        """Write the manifests that an earlier process did not come to write."""
        with self._lock:
            self._close_hours()

    def handle_batch(self, records: Iterable[ChangeRecord]) -> None:
        """Take changes in the order of the log; returns when they are buffered, or landed where that was due."""
        with self._lock:
            if self._ended:
                return
            for record in records:
                self._accept(record)
                if self._buffered_rows >= FLUSH_ROWS:
                    self._flush()
            if self._is_due():
                self._flush()

    def flush_if_due(self) -> None:
        """Land what has waited long enough."""
        with self._lock:
            if not self._ended and self._is_due():
                self._flush()

    def close(self) -> None:
        """Land what is buffered and take no more. A snapshot that has not ended is left: it begins anew."""
        with self._lock:
            self._ended = True
            if self._waiting_since is not None and not self._in_snapshot:
                self._flush()

    def lag(self) -> float:
        """Seconds since the commit of the oldest change that has come and has not landed; 0 when nothing waits."""
        oldest = self._oldest_commit
        return 0.0 if oldest is None else max(0.0, time.time() - oldest / 1e6)

    def _accept(self, record: ChangeRecord) -> None:
        change = record.change
        if change.lsn != self._lsn:
            self._lsn, self._at_lsn, self._last_complete_record = change.lsn, 0, self._last_record
        self._at_lsn += 1
        self._last_record = record.record
        self._in_snapshot = change.snapshot and not change.ends_snapshot
        if change.ends_snapshot:
            self._last_complete_record = self._last_record
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        ahead = self._checkpoint.ahead
        if ahead is not None and ahead.lsn == change.lsn and self._at_lsn <= ahead.records:
            return
        self._oldest_commit = self._oldest_commit or change.commit_us
        if change.table == self._settings.heartbeat_table:
            self._on_heartbeat(change)
        else:
            self._buffered.setdefault((_captured(change.table), change.hour), []).append(change)
            self._buffered_rows += 1

    def _on_heartbeat(self, change: Change) -> None:
        if not change.image or change.op == "d":
            return
        beat_at = change.image.get("beat_at")
        if not isinstance(beat_at, int):
            raise EnvelopeError(f"{change.table}.beat_at: {beat_at!r} is not a time")
        heartbeat = from_micros(beat_at)
        self._watermark = max(self._watermark, heartbeat) if self._watermark else heartbeat
        self._first_hour = self._first_hour or floor_hour(heartbeat)

    def _is_due(self) -> bool:
        if self._waiting_since is None or self._in_snapshot:
            return False
        waited = time.monotonic() - self._waiting_since
        if self._snapshot_files or waited >= self._settings.flush_interval.total_seconds():
            return True
        closed = self._checkpoint.closed
        return self._watermark is not None and (closed is None or self._watermark >= closed + HOUR)

    def _flush(self) -> None:
        files = self._with_retries(self._write)
        for changes in self._buffered.values():
            for change in changes:
                CHANGES.labels(change.table, change.op).inc()
        FILES.inc(len(files))
        rows, self._buffered_rows = self._buffered_rows, 0
        self._buffered.clear()
        self._snapshot_files += files
        if self._in_snapshot:
            return
        self._save()
        self._waiting_since = None
        self._oldest_commit = None
        if rows:
            _LOG.info("landed %d changes in %d files", rows, len(files))
        self._close_hours()

    def _write(self) -> list[LandedFile]:
        def put(part: tuple[tuple[CdcTable, datetime], list[Change]]) -> LandedFile:
            (table, hour), changes = part
            file = write_changes(self._store, table, hour, [change.line for change in changes])
            return LandedFile(table=table, hour=hour, file=file)

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="landing") as pool:
            return list(pool.map(put, self._buffered.items()))

    def _save(self) -> None:
        files = {(f.table, f.hour, f.file.name): f for f in (*self._checkpoint.files, *self._snapshot_files)}
        offset = (
            self._checkpoint.offset
            if self._last_complete_record is None
            else self._engine.offset(self._last_complete_record)
        )
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
        if self._last_complete_record is not None:
            self._engine.acknowledge(self._last_complete_record)

    def _ahead(self) -> Ahead | None:
        if self._lsn is None or self._last_complete_record is self._last_record:
            return None
        before = self._checkpoint.ahead
        # An earlier process may have landed more of this position than has come again.
        landed = before.records if before is not None and before.lsn == self._lsn else 0
        return Ahead(lsn=self._lsn, records=max(self._at_lsn, landed))

    def _close_hours(self) -> None:
        """Close the hours that the watermark has passed; a file of an hour that is closed joins its manifest."""
        watermark = self._checkpoint.watermark
        if watermark is None:
            return
        WATERMARK.set(watermark.timestamp())
        closable = floor_hour(watermark)
        closed = self._checkpoint.closed or closable
        files: dict[tuple[CdcTable, datetime], list[DataFile]] = {}
        for landed in self._checkpoint.files:
            if landed.hour < closable:
                files.setdefault((landed.table, landed.hour), []).append(landed.file)
        late = [part for part in files if part[1] < closed]

        def close(part: tuple[CdcTable, datetime]) -> None:
            add_to_manifest(self._store, *part, files.get(part, ()), watermark)

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="manifests") as pool:
            self._with_retries(lambda: list(pool.map(close, late)))
        if self._checkpoint.closed is not None:
            for table, hour in late:
                LATE_CHANGES.labels(table).inc(sum(file.rows for file in files[table, hour]))
        for hour in timestamps.hours(closed, closable):
            for table in TABLES:
                self._with_retries(lambda part=(table, hour): close(part))  # type: ignore[misc]
            HOURS_CLOSED.inc()
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
            self._with_retries(lambda: self._checkpoints.save(checkpoint))
            self._checkpoint = checkpoint

    def _with_retries(self, write: Callable[[], _Result]) -> _Result:
        """Repeat ``write`` until the object store takes it."""
        try:
            return self._retry.call(write)
        except ObjectStoreError as error:
            raise StoppedError(f"stopped while the object store refused: {error}") from error


def _captured(table: str) -> CdcTable:
    for captured in TABLES:
        if table == captured:
            return captured
    raise EnvelopeError(f"{table}: changes of this table were not asked for")
