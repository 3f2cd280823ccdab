"""Collects what the gateway measures and publishes it to CloudWatch as SageMaker does: namespace ``AWS/SageMaker``."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from localcloud.cloudwatch.alarms import SampledDatum

NAMESPACE: Final = "AWS/SageMaker"
RETENTION: Final = timedelta(hours=1)


@dataclass
class _Interval:
    latencies: array[float] = field(default_factory=lambda: array("d"))
    client_errors: array[float] = field(default_factory=lambda: array("d"))
    server_errors: array[float] = field(default_factory=lambda: array("d"))


class Metrics:
    """One instance per gateway. :meth:`record` is called from its event loop only."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._intervals: dict[tuple[str, str], _Interval] = {}
        self._published: deque[SampledDatum] = deque()

    def record(self, endpoint: str, variant: str, status: int, microseconds: float) -> None:
        """One invocation that the model answered with ``status`` after ``microseconds``."""
        interval = self._intervals.get((endpoint, variant))
        if interval is None:
            interval = self._intervals[endpoint, variant] = _Interval()
        interval.latencies.append(microseconds)
        interval.client_errors.append(400 <= status < 500)
        interval.server_errors.append(status >= 500)

    def publish(self, now: datetime) -> None:
        """Move what was recorded since the last time to CloudWatch, stamped ``now`` (naive UTC); forget what is old."""
        intervals, self._intervals = self._intervals, {}
        data = []
        for (endpoint, variant), interval in intervals.items():
            dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
            ones = array("d", [1.0]) * len(interval.latencies)
            for name, values, unit in (
                ("Invocations", ones, "Count"),
                ("Invocation4XXErrors", interval.client_errors, "Count"),
                ("Invocation5XXErrors", interval.server_errors, "Count"),
                ("ModelLatency", interval.latencies, "Microseconds"),
            ):
                data.append(_datum(name, values, dimensions, unit, now))
        self._backend.metric_data.extend(data)
        self._published.extend(data)
        while self._published and self._published[0].timestamp < now - RETENTION:
            self._backend.metric_data.remove(self._published.popleft())


def _datum(name: str, values: array[float], dimensions: list[dict[str, str]], unit: str, now: datetime) -> SampledDatum:
    datum = SampledDatum(
        namespace=NAMESPACE,
        name=name,
        min_stat=min(values),
        max_stat=max(values),
        sample_count=len(values),
        sum_stat=sum(values),
        dimensions=dimensions,
        timestamp=now,
        unit=unit,
    )
    datum.values = values
    return datum
