"""Moves CloudWatch alarms between OK, ALARM and INSUFFICIENT_DATA by their definition.

Period *n* is the *n*-th window of ``Period`` seconds before now (CloudWatch aligns its periods to the clock), so an
alarm reacts as soon as the data are there. Metric-math and composite alarms are left as they are.
"""

from __future__ import annotations

import math
import operator
import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

from moto.cloudwatch.models import MetricAggregatedDatum, MetricDatum

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
#: TreatMissingData -> state of an alarm without any data.
_WITHOUT_DATA: Final[dict[str, State | None]] = {"notBreaching": "OK", "breaching": "OK", "ignore": None}


class SampledDatum(MetricAggregatedDatum):
    """Statistics of one publication that also keep its values, for percentiles."""

    values: array[float] = array("d")


@dataclass(frozen=True)
class Window:
    """The data of one period: all values where known, and their statistics."""

    values: Sequence[float]
    count: float
    total: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, data: Iterable[Any]) -> Window:
        """The window over CloudWatch data."""
        values: list[float] = []
        count = total = 0.0
        minimum, maximum = math.inf, -math.inf
        for datum in data:
            single = isinstance(datum, MetricDatum)
            values.extend([datum.value] if single else getattr(datum, "values", ()))
            count += 1 if single else datum.sample_count
            total += datum.value if single else datum.sum
            minimum = min(minimum, datum.value if single else datum.min)
            maximum = max(maximum, datum.value if single else datum.max)
        return cls(values, count, total, minimum, maximum)

    def statistic(self, name: str) -> float | None:
        """``Sum``, ``Average``, ``Minimum``, ``Maximum``, ``SampleCount`` or as ``p99``; none without data."""
        if not self.count:
            return None
        if name.startswith("p"):
            return percentile(self.values, float(name[1:])) if self.values else None
        statistics = {
            "Sum": self.total,
            "Average": self.total / self.count,
            "Minimum": self.minimum,
            "Maximum": self.maximum,
            "SampleCount": self.count,
        }
        return statistics.get(name)


def percentile(values: Sequence[float], rank: float) -> float:
    """The nearest-rank percentile of ``values``."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(rank / 100 * len(ordered)) - 1)]


def verdict(
    points: Sequence[float | None], breaches: Callable[[float], bool], needed: int, missing: str
) -> State | None:
    """The state that ``points`` (newest first; ``None`` is missing) put an alarm in; ``None`` keeps it.

    ``needed`` of the points must breach. ``missing`` is TreatMissingData: missing, ignore, breaching, notBreaching.
    """
    if missing == "breaching":
        breaching = sum(point is None or breaches(point) for point in points)
    else:
        breaching = sum(point is not None and breaches(point) for point in points)
    if breaching >= needed:
        return "ALARM"
    if all(point is None for point in points):
        return _WITHOUT_DATA.get(missing, "INSUFFICIENT_DATA")
    return "OK"


class Alarms:
    """Evaluates the alarms of one CloudWatch backend every ``seconds``; the fault switches can hold one in ALARM."""

    def __init__(self, backend: Any, seconds: float) -> None:
        self._backend = backend
        self._seconds = seconds
        self._tripped: set[str] = set()
        self._stop = threading.Event()

    def start(self) -> None:
        """Evaluate from now on, in a thread."""
        threading.Thread(target=self._loop, name="alarms", daemon=True).start()

    def stop(self) -> None:
        """Evaluate no more."""
        self._stop.set()

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are no alarm."""
        return [name for name in names if name not in self._backend.alarms]

    def in_alarm(self, names: Iterable[str]) -> list[str]:
        """Those of the alarms that are in ALARM."""
        alarms = self._backend.alarms
        return [name for name in names if name in alarms and alarms[name].state_value == "ALARM"]

    def trip(self, name: str) -> None:
        """Hold an alarm in ALARM; raises ``KeyError`` when there is none of that name."""
        alarm = self._backend.alarms[name]
        self._tripped.add(name)
        self._set(alarm, "ALARM", "fault switch")

    def clear(self, name: str) -> None:
        """Let the alarm follow its metric again; raises ``KeyError`` when there is none of that name."""
        alarm = self._backend.alarms[name]
        self._tripped.discard(name)
        self._set(alarm, "OK", "fault switch cleared")

    @property
    def tripped(self) -> list[str]:
        """Alarms held in ALARM."""
        return sorted(self._tripped & self._backend.alarms.keys())

    def evaluate(self, now: datetime) -> None:
        """Evaluate every alarm at ``now`` (naive UTC)."""
        for alarm in list(self._backend.alarms.values()):
            if alarm.name in self._tripped or not alarm.metric_name or alarm.metric_data_queries or alarm.rule:
                continue
            compare = _COMPARE.get(alarm.comparison_operator)
            if compare is None:
                continue
            points = [self._point(alarm, now, index) for index in range(int(alarm.evaluation_periods))]
            breaches = partial(_swapped, compare, float(alarm.threshold))
            needed = int(alarm.datapoints_to_alarm or alarm.evaluation_periods)
            state = verdict(points, breaches, needed, alarm.treat_missing_data or "missing")
            if state is not None and state != alarm.state_value:
                self._set(alarm, state, f"{points} against {alarm.comparison_operator} {alarm.threshold}")

    def _point(self, alarm: Any, now: datetime, index: int) -> float | None:
        length = timedelta(seconds=int(alarm.period))
        end = now - index * length
        wanted = {(dimension.name, dimension.value) for dimension in alarm.dimensions}
        data = (
            datum
            for datum in list(self._backend.metric_data)
            if datum.name == alarm.metric_name
            and datum.namespace == alarm.namespace
            and end - length < _naive(datum.timestamp) <= end
            and {(dimension.name, dimension.value) for dimension in datum.dimensions} == wanted
        )
        return Window.of(data).statistic(alarm.statistic or alarm.extended_statistic or "Average")

    def _set(self, alarm: Any, state: State, reason: str) -> None:
        alarm.update_state(reason, "{}", state)

    def _loop(self) -> None:
        while not self._stop.wait(self._seconds):
            self.evaluate(datetime.now(UTC).replace(tzinfo=None))


def _swapped(compare: Callable[[float, float], bool], threshold: float, point: float) -> bool:
    return compare(point, threshold)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
