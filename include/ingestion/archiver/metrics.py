"""What the archiver tells Prometheus, business events among it: each once, although it may be delivered more than once.

An event counts when it is durable, unless its id was seen among the last ones. The memory is bounded, so a duplicate
that comes very late counts again: these are the counters for dashboards and alerts at night, not the books.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from adrank.contracts import metrics as names
from adrank.contracts.experiments import Variant
from ingestion.archiver.checkpoints import PendingFile
from ingestion.archiver.dead_letters import DeadLetterRecord

_FLUSH_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_CAPACITY: Final = 500_000
_VARIANTS: Final = get_args(Variant)


class Metrics:
    """The counters of one archiver."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lag = Gauge(
            names.ARCHIVER_LAG, "Messages in Kafka that are not in the lake", ["partition"], registry=self.registry
        )
        self._messages = Counter(
            names.ARCHIVER_MESSAGES, "Messages of which the lake has what it keeps", registry=self.registry
        )
        self._rows = Counter(names.ARCHIVER_ROWS, "Rows landed", registry=self.registry)
        self._late = Counter(
            names.ARCHIVER_LATE_ROWS, "Rows that came after their hour should be closed", registry=self.registry
        )
        self._dead = Counter(
            names.ARCHIVER_DEAD_LETTERS, "Messages that are no events", ["reason"], registry=self.registry
        )
        self._files = Counter(names.ARCHIVER_FILES, "Data files landed", registry=self.registry)
        self._retries = Counter(names.ARCHIVER_RETRIES, "Tries that a store or broker refused", registry=self.registry)
        self._watermark = Gauge(
            names.ARCHIVER_WATERMARK, "Event time that all partitions have passed", registry=self.registry
        )
        self._closed = Counter(names.ARCHIVER_HOURS_CLOSED, "Hours closed", registry=self.registry)
        self._revised = Counter(
            names.ARCHIVER_HOURS_REVISED, "Closed hours that got a new revision", registry=self.registry
        )
        self.flush_seconds = Histogram(
            names.ARCHIVER_FLUSH_SECONDS,
            "From the end of reading to the checkpoint",
            buckets=_FLUSH_BUCKETS,
            registry=self.registry,
        )
        self._business = BusinessCounters(
            Counter(names.BUSINESS_EVENTS, "Events by type", ["event_type", "variant"], registry=self.registry),
            Counter(names.BUSINESS_SEARCHES, "Searches that showed ads", ["variant"], registry=self.registry),
            Counter(names.BUSINESS_REVENUE, "Provisional revenue", ["variant"], registry=self.registry),
        )

    def watch_lag(self, partition: int, lag: Callable[[], int | None]) -> None:
        """Ask for the lag of a partition whenever Prometheus does: it grows while the archiver waits for a store."""

        def lag_or_nan() -> float:
            messages = lag()
            return float("nan") if messages is None else messages

        self._lag.labels(str(partition)).set_function(lag_or_nan)

    def retried(self) -> None:
        """A try was refused."""
        self._retries.inc()

    def landed(
        self, messages: int, files: Sequence[PendingFile], refused: Sequence[DeadLetterRecord], rows: pa.Table | None
    ) -> None:
        """A flush of one partition is durable, its checkpoint included."""
        self._messages.inc(messages)
        self._rows.inc(sum(file.rows for file in files))
        self._late.inc(sum(file.late_rows for file in files))
        self._files.inc(len(files))
        for record in refused:
            self._dead.labels(record.kind).inc()
        if rows is not None:
            self._business.count(rows)

    def closed(self, hours: int, revised: int, watermark: datetime | None) -> None:
        """Hours were looked at."""
        self._closed.inc(hours)
        self._revised.inc(revised)
        if watermark is not None:
            self._watermark.set(watermark.timestamp())


class RecentIds:
    """Which of the last so many ids were seen. Two generations of hashes: the older one is forgotten whole."""

    def __init__(self, size: int = _CAPACITY) -> None:
        self._size = size
        self._young = self._old = np.empty(0, dtype=np.int64)

    def first_seen(self, ids: pa.ChunkedArray) -> pa.Array:
        """For each id whether it is new."""
        hashes = np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))
        distinct, first = np.unique(hashes, return_index=True)
        seen = _holds(self._young, distinct) | _holds(self._old, distinct)
        new = np.zeros(len(hashes), dtype=np.bool_)
        new[first[~seen]] = True
        # Two sorted runs, which a stable sort merges in one pass.
        self._young = np.sort(np.concatenate([self._young, distinct[~seen]]), kind="stable")
        if len(self._young) > self._size:
            self._old, self._young = self._young, self._young[:0]
        return pa.array(new)


def _holds(seen: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of ``wanted`` are in ``seen``; both are sorted."""
    if not len(seen):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(seen, wanted), len(seen) - 1)
    found: npt.NDArray[np.bool_] = seen[places] == wanted
    return found


class BusinessCounters:
    """Counts rows of the event schema."""

    def __init__(self, events: Counter, searches: Counter, revenue: Counter) -> None:
        self._events = events
        self._searches = searches
        self._revenue = revenue
        self._event_ids = RecentIds()
        self._search_ids = RecentIds()

    def count(self, table: pa.Table) -> None:
        """Count what is now durable."""
        rows = table.select(["event_type", "variant", "revenue", "search_id"])
        new = rows.filter(self._event_ids.first_seen(table["event_id"]))
        by_kind = new.group_by(["event_type", "variant"]).aggregate([([], "count_all"), ("revenue", "sum")])
        for group in by_kind.to_pylist():
            variant = _label(group["variant"])
            self._events.labels(group["event_type"], variant).inc(group["count_all"])
            if group["revenue_sum"]:
                self._revenue.labels(variant).inc(group["revenue_sum"])
        shown = new.filter(pc.equal(new["event_type"], "impression"))
        searches = shown.filter(self._search_ids.first_seen(shown["search_id"]))
        for group in searches.group_by("variant").aggregate([([], "count_all")]).to_pylist():
            self._searches.labels(_label(group["variant"])).inc(group["count_all"])


def _label(variant: str | None) -> str:
    """Few labels, whatever producers write."""
    if not variant:
        return "none"
    return variant if variant in _VARIANTS else "other"
