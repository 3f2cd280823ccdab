"""Closing of hours: manifests from the checkpoints of all partitions, by watermark.

An hour is closed when every partition's clock, less the grace, has passed its end; an hour without events is closed
too. What comes for a closed hour makes a new revision of its manifest, together with all else that came late, when the
next hour is closed: a trickle of late events does not outdate what was computed from an hour again and again. All files
that a checkpoint names are in the lake, and everything before a checkpoint's clock is in its files, so checkpoints are
all that this looks at.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel

from adrank.contracts import lake, timestamps
from adrank.contracts.base import FrozenModel
from adrank.contracts.manifests import DataFile, RawManifest
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import DAY, HOUR, floor_hour
from adrank.storage import documents, watermarks
from adrank.storage.documents import FencedError, VersionedDocument
from adrank.storage.object_store import ConflictError, ObjectStore
from ingestion.archiver import checkpoints
from ingestion.archiver.checkpoints import Checkpoint, PendingFile

_log = logging.getLogger(__name__)
#: Time after which, at least, a checkpoint says again that its partition is idle.
IDLE_REPORT_INTERVAL: Final = timedelta(seconds=1)
_HOURS_PER_SAVE: Final = 24
#: A silence longer than this between what is in the lake and the first event is the beginning of another log.
_MAX_GAP: Final = timedelta(days=35)


class HoursState(FrozenModel):
    """How far hours are closed. ``watermark`` never goes back."""

    next_hour: datetime | None = None
    watermark: datetime | None = None
    writer: str = ""


class CloseResult(BaseModel):
    """What one look at the checkpoints did."""

    hours: int = 0
    revised: int = 0
    watermark: datetime | None = None


class HourCloser:
    """The closing of one topic's hours. One process does it: making another of these takes it over from the last."""

    def __init__(self, store: ObjectStore, events: Events, partitions: int) -> None:
        self._store = store
        self._events = events
        self._partitions = partitions
        self._document = VersionedDocument.open(store, lake.ARCHIVER_HOURS.of(events.topic), HoursState)
        self._state = self._document.current or HoursState()
        self._save(self._state.model_copy(update={"writer": uuid.uuid4().hex}))

    def close(self) -> CloseResult:
        """When hours are due, close them and revise those that got late events; until then late events wait."""
        current = [c for c in checkpoints.read(self._store, self._events.topic, range(self._partitions)) if c]
        reached = self._watermark(current) if len(current) == self._partitions else None
        before = self._state.watermark
        watermark = max((moment for moment in (reached, before) if moment), default=None)
        if watermark is None:
            return CloseResult()
        pending = _by_hour(current)
        hour = self._state.next_hour or self._first_hour(current, pending)
        if hour + HOUR > watermark:
            self._save_progress(hour, watermark)
            return CloseResult(watermark=watermark)
        revised = sum(self._revise(late, pending, hour, watermark) for late in sorted(h for h in pending if h < hour))
        closed = 0
        while hour + HOUR <= watermark:
            self._publish(hour, pending.get(hour, ()), watermark)
            hour += HOUR
            closed += 1
            if closed % _HOURS_PER_SAVE == 0:
                self._save_progress(hour, before)
        self._save_progress(hour, watermark)
        return CloseResult(hours=closed, revised=revised, watermark=watermark)

    def _watermark(self, current: Sequence[Checkpoint]) -> datetime | None:
        """The least clock less the grace, over the partitions that are not idle, or over all when all are."""
        interval = max(self._events.idle_timeout, self._events.flush_interval, IDLE_REPORT_INTERVAL)
        fresh = datetime.now(UTC) - 3 * interval
        active = [c for c in current if c.idle_at is None or c.idle_at < fresh] or current
        clocks = [c.clock for c in active if c.clock is not None]
        return min(clocks) - self._events.grace if len(clocks) == len(active) else None

    def _first_hour(self, current: Sequence[Checkpoint], pending: Mapping[datetime, Sequence[PendingFile]]) -> datetime:
        """Where closing begins: after the newest hour that is in the lake already, so that no hour is left out."""
        began = min([floor_hour(c.began) for c in current if c.began is not None] + list(pending))
        last = watermarks.last_closed_hour(self._store, since=began - _MAX_GAP + DAY, before=began)
        return began if last is None else last + HOUR

    def _revise(
        self,
        hour: datetime,
        pending: Mapping[datetime, Sequence[PendingFile]],
        next_hour: datetime,
        watermark: datetime,
    ) -> bool:
        """Bring late files into their hour; an hour before the log's beginning is joined to it without a gap."""
        was_there, changed = self._publish(hour, pending[hour], watermark)
        if not was_there:
            for between in timestamps.hours(hour + HOUR, next_hour):
                if self._store.find(lake.RAW_EVENTS.manifest(between)) is not None:
                    break
                self._publish(between, pending.get(between, ()), watermark)
        return was_there and changed

    def _publish(self, hour: datetime, files: Sequence[PendingFile], watermark: datetime) -> tuple[bool, bool]:
        """Have the hour's manifest name the files; returns (there was a manifest, it was written anew)."""
        key = lake.RAW_EVENTS.manifest(hour)
        old: RawManifest | None = None

        def merged(found: RawManifest | None) -> RawManifest:
            nonlocal old
            old, manifest = found, _merged(hour, found, files, watermark)
            if found is not None and manifest != found:
                for kept in (found, manifest):
                    self._store.put(lake.RAW_EVENTS.manifest_revision(hour, kept.revision), documents.encode(kept))
            return manifest

        try:
            manifest = documents.update(self._store, key, RawManifest, merged)
        except ConflictError as error:
            raise FencedError(f"{key} is written by somebody else all the time") from error
        if old is not None and manifest != old:
            _log.info("Hour %s is now revision %d", hour.isoformat(), manifest.revision)
        return old is not None, manifest != old

    def _save_progress(self, next_hour: datetime, watermark: datetime | None) -> None:
        progress = self._state.model_copy(update={"next_hour": next_hour, "watermark": watermark})
        if progress != self._state:
            self._save(progress)

    def _save(self, state: HoursState) -> None:
        try:
            self._document.save(state)
        except ConflictError as error:
            raise FencedError(f"another archiver closes the hours of {self._events.topic}: {error}") from error
        self._state = state


def watermark(store: ObjectStore, topic: str) -> datetime | None:
    """How far hours are closed, for those that do not close them; None before the first look at the checkpoints."""
    body = store.find(lake.ARCHIVER_HOURS.of(topic))
    return None if body is None else HoursState.model_validate_json(body).watermark


def not_in_manifest(store: ObjectStore, topic: str, files: Iterable[PendingFile]) -> tuple[PendingFile, ...]:
    """The files that no manifest names yet: those that a checkpoint must keep."""
    pending = tuple(files)
    body = store.find(lake.ARCHIVER_HOURS.of(topic)) if pending else None
    if body is None:
        return pending
    next_hour = HoursState.model_validate_json(body).next_hour
    named: set[str] = set()
    for hour in {file.hour for file in pending if next_hour is not None and file.hour < next_hour}:
        manifest = store.find(lake.RAW_EVENTS.manifest(hour))
        if manifest is not None:
            named.update(file.name for file in RawManifest.model_validate_json(manifest).files)
    return tuple(file for file in pending if file.name not in named)


def _merged(
    hour: datetime, old: RawManifest | None, pending: Sequence[PendingFile], watermark: datetime
) -> RawManifest:
    """The manifest that names ``pending`` too. What is added to a closed hour is late, whatever it was when it came."""
    named = {file.name for file in old.files} if old else set()
    new = [file for file in sorted(pending, key=lambda file: file.name) if file.name not in named]
    added = tuple(DataFile(name=file.name, rows=file.rows, sha256=file.sha256) for file in new)
    rows = sum(file.rows for file in new)
    if old is None:
        return RawManifest(
            hour=hour,
            revision_time=hour + HOUR,
            watermark=watermark,
            files=added,
            rows=rows,
            late_rows=sum(file.late_rows for file in new),
        )
    if not new:
        return old
    changed = {
        "revision": old.revision + 1,
        "revision_time": max(watermark, old.revision_time),
        "watermark": max(watermark, old.watermark),
        "files": (*old.files, *added),
        "rows": old.rows + rows,
        "late_rows": old.late_rows + rows,
    }
    return old.model_copy(update=changed)


def _by_hour(current: Iterable[Checkpoint]) -> dict[datetime, list[PendingFile]]:
    pending: dict[datetime, list[PendingFile]] = {}
    for checkpoint in current:
        for file in checkpoint.files:
            pending.setdefault(file.hour, []).append(file)
    return pending
