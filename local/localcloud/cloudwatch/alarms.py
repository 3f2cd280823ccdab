"""Moves CloudWatch alarms between OK, ALARM and INSUFFICIENT_DATA by their definition.

Period *n* is the *n*-th window of ``Period`` seconds before now (CloudWatch aligns its periods to the clock), so an
alarm reacts as soon as the data are there. Metric-math and composite alarms are left as they are.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, Final, Literal

from moto.cloudwatch.models import MetricAggregatedDatum, Statistics

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

#: Comparison -> how the threshold then compares with a point that breaches it.
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.lt,
    "GreaterThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.ge,
}
#: TreatMissingData -> state of an alarm without any data.
_WITHOUT_DATA: Final[dict[str, State | None]] = {"notBreaching": "OK", "breaching": "OK", "ignore": None}


class SampledDatum(MetricAggregatedDatum):
    """Statistics of one publication that also keep its values, for percentiles."""

    values: array[float] = array("d")


def statistic(data: Iterable[Any], name: str) -> float | None:
    """``Sum``, ``Average``, ``Minimum``, ``Maximum``, ``SampleCount`` or as ``p99``, of CloudWatch data.

    None without data, and of a percentile where only statistics are known.
    """
    statistics = Statistics([name], datetime.min)
    statistics.metric_data = list(data)
    if name.startswith("p"):
        published = (getattr(datum, "values", ()) for datum in statistics.metric_aggregated_list)
        values = [*statistics.metric_single_values_list, *chain.from_iterable(published)]
        return percentile(values, float(name[1:])) if values else None
    value = statistics.get_statistics_for_type(name) if statistics.calc_sample_count() else None
    return None if value is None else float(value)


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
    """The alarms of one CloudWatch backend; the fault switches can hold one in ALARM."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._tripped: set[str] = set()

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
        alarm.update_state("fault switch", "{}", "ALARM")

    def clear(self, name: str) -> None:
        """Let the alarm follow its metric again; raises ``KeyError`` when there is none of that name."""
        alarm = self._backend.alarms[name]
        self._tripped.discard(name)
        alarm.update_state("fault switch cleared", "{}", "OK")

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
            breaches = partial(compare, float(alarm.threshold))
            needed = int(alarm.datapoints_to_alarm or alarm.evaluation_periods)
            state = verdict(points, breaches, needed, alarm.treat_missing_data or "missing")
            if state is not None and state != alarm.state_value:
                reason = f"{points} against {alarm.comparison_operator} {alarm.threshold}"
                alarm.update_state(reason, "{}", state)

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
        return statistic(data, alarm.statistic or alarm.extended_statistic or "Average")


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
