"""Settings of a release: the live experiment, the approval, the rollout."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from adrank.contracts.base import FrozenModel


class ExperimentPlan(FrozenModel):
    """The live A/B. Times are event time, except ``wall_clock_timeout``."""

    share: float = Field(default=0.05, gt=0, lt=1)
    duration: timedelta = timedelta(hours=24)
    look_interval: timedelta = timedelta(hours=1)
    max_duration: timedelta = Field(default=timedelta(hours=72), description="extend waits at most this long")
    wall_clock_timeout: timedelta = timedelta(days=5)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    primary_metric: Literal["clicks", "contacts", "revenue"] = "contacts"
    guardrail_margins: dict[str, float] = Field(
        default_factory=lambda: {"revenue": -0.05},
        description="metric per search -> least acceptable relative lower bound",
    )
    expected_lift: float = Field(default=0.1, gt=0, description="relative; tunes where the intervals are tightest")
    srm_alpha: float = Field(default=0.001, gt=0, lt=0.5)
    min_users_per_variant: int = Field(default=100, ge=1)
    poll_seconds: float = Field(default=60, gt=0)

    @model_validator(mode="after")
    def _whole_hours(self) -> ExperimentPlan:
        for name in ("duration", "look_interval", "max_duration"):
            value: timedelta = getattr(self, name)
            if value <= timedelta(0) or value % timedelta(hours=1):
                raise ValueError(f"{name} must be a positive number of whole hours, because looks read closed hours")
        if self.max_duration < self.duration:
            raise ValueError("max_duration must not be before duration")
        return self


class Approval(FrozenModel):
    """Who may approve a promotion, and how long silence lasts before it means no."""

    approvers: tuple[str, ...] = ("product_manager",)
    timeout: timedelta = timedelta(days=3)


class Rollout(FrozenModel):
    """The blue/green shift to production."""

    strategy: Literal["LINEAR", "CANARY", "ALL_AT_ONCE"] = "LINEAR"
    step_percent: int = Field(default=20, ge=5, le=50)
    step_wait: timedelta = timedelta(minutes=5)
    termination_wait: timedelta = timedelta(minutes=5)
    timeout: timedelta = timedelta(hours=2)
    alarms: tuple[str, ...] = ("adrank-production-5xx", "adrank-production-latency")
