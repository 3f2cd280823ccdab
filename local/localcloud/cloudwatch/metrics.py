"""Collects what the gateway measures and publishes it to CloudWatch as SageMaker does: namespace ``AWS/SageMaker``."""

from __future__ import annotations

from array import array
from collections import deque
from datetime import datetime, timedelta
from typing import Any, Final

from localcloud.cloudwatch.alarms import SampledDatum

NAMESPACE: Final = "AWS/SageMaker"
RETENTION: Final = timedelta(hours=1)


class Metrics:
    """One instance per gateway. :meth:`record` is called from its event loop only."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        #: Status and microseconds of the invocations since the last publication, by endpoint and variant.
        self._invocations: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._published: deque[SampledDatum] = deque()

    def record(self, endpoint: str, variant: str, status: int, microseconds: float) -> None:
        """One invocation that the model answered with ``status`` after ``microseconds``."""
        self._invocations.setdefault((endpoint, variant), []).append((status, microseconds))

    def publish(self, now: datetime) -> None:
        """Move what was recorded since the last time to CloudWatch, stamped ``now`` (naive UTC); forget what is old."""
        recorded, self._invocations = self._invocations, {}
        data = []
        for (endpoint, variant), invocations in recorded.items():
            dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
            for name, values, unit in (
                ("Invocations", [1 for _ in invocations], "Count"),
                ("Invocation4XXErrors", [400 <= status < 500 for status, _ in invocations], "Count"),
                ("Invocation5XXErrors", [status >= 500 for status, _ in invocations], "Count"),
                ("ModelLatency", [microseconds for _, microseconds in invocations], "Microseconds"),
            ):
                data.append(_datum(name, array("d", values), dimensions, unit, now))
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
