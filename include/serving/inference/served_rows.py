"""Logs a sample of the stored rows that requests were served with, so that an audit can hold them against the lake.

It stands beside the answer, never in its way: taking a sample is putting references into a bounded queue, and a thread
writes them under the hour of the request's event time. A line of JSON holds the rows of one request and one group: the
names of the features that the model takes, per entity as-of time and the reason where defaults were served, and the
values that were scored (base64 of float32, little endian, [entities, features]). What does not fit, or cannot be
written, is dropped and counted.
"""

from __future__ import annotations

import json
import logging
import math
import time
import uuid
import zlib
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Final, NamedTuple

from adrank.contracts import lake
from adrank.contracts.registry import Entity, FeatureGroup
from adrank.contracts.timestamps import floor_hour
from adrank.online.reader import FetchResult
from adrank.online.vectors import GroupRows, Matrix, VectorLayout
from adrank.runtime.rate_limited_log import RateLimitedLogger

_LOG: Final = logging.getLogger(__name__)

#: Sampled requests that may wait for the thread: a few megabytes.
_MAX_QUEUED: Final = 64
_FLUSH_ROWS: Final = 20_000
_FLUSH_SECONDS: Final = 60.0

Put = Callable[[str, bytes], None]


class ServedRequest(NamedTuple):
    """One request's entities, the rows fetched for them, and the vectors that were scored."""

    event_time: datetime
    ids: Mapping[Entity, Sequence[str | None]]
    fetched: FetchResult
    vectors: Matrix


class _LogLine(NamedTuple):
    text: str
    rows: int


class ServedRowsLog:
    """Thread-safe. ``put`` writes one object of the lake by key; ``share`` of the searches are logged, 0 to 1."""

    def __init__(
        self,
        layout: VectorLayout,
        put: Put,
        share: float,
        *,
        max_queued: int = _MAX_QUEUED,
        flush_rows: int = _FLUSH_ROWS,
        flush_seconds: float = _FLUSH_SECONDS,
    ) -> None:
        self._layout = layout
        self._put = put
        self._threshold = share * 2**32
        self._flush_rows = flush_rows
        self._flush_seconds = flush_seconds
        self._queue: Queue[ServedRequest | None] = Queue(max_queued)
        self._instance = uuid.uuid4().hex[:12]
        self._objects = 0
        self._lines: dict[datetime, list[_LogLine]] = defaultdict(list)
        self._buffered_rows = 0
        self._flush_at = math.inf
        self._stopping = Event()
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        self._log = RateLimitedLogger(_LOG)
        self._thread = Thread(target=self._run, name="served-log", daemon=True)
        self._thread.start()

    def offer(self, search_id: str, served: ServedRequest) -> None:
        """Take the request if its search is in the sample and there is room. Neither blocks nor raises."""
        if zlib.crc32(search_id.encode()) >= self._threshold:
            return
        try:
            self._queue.put_nowait(served)
        except Full:
            self._count("dropped", 1)

    def counters(self) -> dict[str, int]:
        """Running totals since start: requests ``served_log.dropped``, rows ``served_log.written`` and ``.lost``."""
        with self._lock:
            return {f"served_log.{name}": count for name, count in self._counts.items()}

    def close(self, seconds: float = 3.0) -> None:
        """Write what is there, for at most ``seconds``."""
        self._stopping.set()
        with suppress(Full):  # Then the thread is awake anyway.
            self._queue.put_nowait(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            served = self._next()
            if served is not None:
                self._buffer(served)
            ending = self._stopping.is_set() and self._queue.empty()
            if ending or self._buffered_rows >= self._flush_rows or time.monotonic() >= self._flush_at:
                self._flush()
            if ending:
                return

    def _next(self) -> ServedRequest | None:
        wait = self._flush_at - time.monotonic()
        try:
            return self._queue.get(timeout=None if math.isinf(wait) else max(0.0, wait))
        except Empty:
            return None

    def _buffer(self, served: ServedRequest) -> None:
        try:
            lines = list(self._encode(served))
        except Exception as error:
            # A thread that dies takes every later sample with it.
            self._count("dropped", 1)
            self._log.warning("served log", f"a request could not be logged: {error!r}")
            return
        if not self._lines:
            self._flush_at = time.monotonic() + self._flush_seconds
        self._lines[floor_hour(served.event_time)] += lines
        self._buffered_rows += sum(line.rows for line in lines)

    def _encode(self, served: ServedRequest) -> Iterator[_LogLine]:
        for group, names, vectors in self._layout.stored(served.vectors):
            rows = served.fetched.rows[group.name]
            first: dict[str, int] = {}
            for place, entity in enumerate(served.ids[group.entity]):
                if entity is not None:
                    first.setdefault(entity, place)
            places = list(first.values())
            line = {
                "group": group.name,
                "fingerprint": group.fingerprint,
                "event_time": served.event_time.isoformat(),
                "features": names,
                "entities": list(first),
                "as_of": rows.as_of[places].tolist(),
                "reasons": [_reason(group, rows, place, served.fetched.outages) for place in places],
                "rows": b64encode(vectors[places].astype("<f4").tobytes()).decode(),
            }
            if places:
                yield _LogLine(json.dumps(line, separators=(",", ":")), len(places))

    def _flush(self) -> None:
        buffered, self._lines, self._buffered_rows, self._flush_at = self._lines, defaultdict(list), 0, math.inf
        for hour, lines in buffered.items():
            key = f"{lake.SERVED_ROWS.hour(hour)}{self._instance}-{self._objects:06d}.jsonl"
            self._objects += 1
            rows = sum(line.rows for line in lines)
            try:
                self._put(key, "".join(f"{line.text}\n" for line in lines).encode())
            except Exception as error:
                self._count("lost", rows)
                self._log.warning("served log", f"{rows} rows lost, {key} cannot be written: {error!r}")
            else:
                self._count("written", rows)

    def _count(self, what: str, more: int) -> None:
        with self._lock:
            self._counts[what] += more


def _reason(group: FeatureGroup, rows: GroupRows, place: int, outages: Sequence[str]) -> str | None:
    """Why the registry's defaults were served; nothing where a stored row was."""
    if rows.mismatched[place]:
        return "other layout"
    if rows.missing[place]:
        return "outage" if group.name in outages else "missing"
    return "stale" if rows.stale[place] else None
