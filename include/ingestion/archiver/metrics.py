"""What the archiver tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import pyarrow as pa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from adrank.contracts import metrics as names
from ingestion.archiver.business import BusinessCounters
from ingestion.archiver.checkpoints import PendingFile
from ingestion.archiver.dead_letters import Refused

_FLUSH_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class MetricsPortError(RuntimeError):
    """The address for Prometheus cannot be used."""


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

    def serve(self, host: str, port: int) -> None:
        """Answer ``/metrics`` until the process ends, or raise :class:`MetricsPortError`."""
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise MetricsPortError(f"/metrics cannot be served on {host}:{port}: {error.strerror}") from error

    def watch_lag(self, partition: int, lag: Callable[[], int | None]) -> None:
        """Ask for the lag of a partition whenever Prometheus does: it grows while the archiver waits for a store."""

        def known() -> float:
            found = lag()
            return float("nan") if found is None else found

        self._lag.labels(str(partition)).set_function(known)

    def retried(self) -> None:
        """A try was refused."""
        self._retries.inc()

    def landed(
        self, messages: int, files: Sequence[PendingFile], refused: Sequence[Refused], rows: pa.Table | None
    ) -> None:
        """A roll of one partition is durable, its checkpoint included."""
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
