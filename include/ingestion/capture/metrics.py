"""What a capture process tells Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from adrank.contracts import metrics

CHANGES: Final = Counter(metrics.CAPTURE_CHANGES, "Changes that are durable, by Debezium's operation", ["table", "op"])
LATE_CHANGES: Final = Counter(
    metrics.CAPTURE_LATE_CHANGES, "Changes that landed in an hour that was closed before", ["table"]
)
LAG: Final = Gauge(
    metrics.CAPTURE_LAG_SECONDS, "Since the commit of the oldest change that waits to land; 0 when none waits"
)
FILES: Final = Counter(metrics.CAPTURE_FILES, "Files of change data written")
RETRIES: Final = Counter(metrics.CAPTURE_RETRIES, "Times that the object store refused and was asked again")
HOURS_CLOSED: Final = Counter(metrics.CAPTURE_HOURS_CLOSED, "Hours closed")
WATERMARK: Final = Gauge(metrics.CAPTURE_WATERMARK, "The newest heartbeat, in seconds since the epoch")
