"""What this demo will do: which history, and the settings under which a week of lifecycle fits into minutes."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter

from adrank.contracts.timestamps import HOUR
from demo.report.record import Source

#: Hours of history that go through the hourly DAG; all before them land by one range step per group.
HOURLY_RUNS: Final = 2
_DURATION: Final = TypeAdapter(timedelta)


class DemoPlan(Source):
    """History ``[start, end)`` in whole hours, and what follows from it.

    ``metrics``: those that its log can speak about, the most telling first; the first one decides the experiment.
    """

    seed: int
    metrics: tuple[str, ...]

    @property
    def hours(self) -> int:
        """Hours of history."""
        return (self.end - self.start) // HOUR

    @property
    def hourly_start(self) -> datetime:
        """The first hour that the hourly DAG computes."""
        return self.end - min(HOURLY_RUNS, self.hours) * HOUR

    @property
    def maturity(self) -> timedelta:
        """How long labels wait: an hour, or less where the whole log spans less than a day."""
        span = self.end - self.start
        return min(timedelta(hours=1), max(timedelta(minutes=1), span / 24))


def environment(plan: DemoPlan, now: datetime) -> dict[str, str]:
    """The lifecycle's settings as environment variables. ``now`` keeps the weekly schedule from adding its own run."""
    days = math.ceil((plan.end - plan.start) / timedelta(days=1)) + 1
    values: dict[str, object] = {
        "LABELS__MATURITY": plan.maturity,
        "TRAINING__WINDOW_DAYS": days,
        "EXPERIMENT__SHARE": 0.5,
        "EXPERIMENT__LOOK_INTERVAL": timedelta(hours=4),
        "EXPERIMENT__DURATION": timedelta(hours=24),
        "EXPERIMENT__MAX_DURATION": timedelta(hours=48),
        # Event time may run at any pace; whether it runs at all is watched by the demo.
        "EXPERIMENT__WALL_CLOCK_TIMEOUT": timedelta(days=1),
        "EXPERIMENT__PRIMARY_METRIC": plan.metrics[0],
        "EXPERIMENT__EXPECTED_LIFT": 0.3,
        "EXPERIMENT__POLL_SECONDS": 2,
        "ROLLOUT__STRATEGY": "LINEAR",
        "ROLLOUT__STEP_PERCENT": 20,
        "ROLLOUT__STEP_WAIT": timedelta(seconds=8),
        "ROLLOUT__TERMINATION_WAIT": timedelta(seconds=5),
        "AIRFLOW__FEATURES_START": plan.hourly_start,
        "AIRFLOW__TRAINING_START": now,
        "BILLING__START": now,
    }
    return {f"ADRANK_{name}": _formatted(value) for name, value in values.items()}


def _formatted(value: object) -> str:
    if isinstance(value, timedelta):
        return str(_DURATION.dump_python(value, mode="json"))
    return value.isoformat() if isinstance(value, datetime) else str(value)
