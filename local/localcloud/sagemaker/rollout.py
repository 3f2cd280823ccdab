"""The plan of a blue/green update, read from SageMaker's ``DeploymentConfig``. Pure: nothing here waits or starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_MAX_WAIT: Final = 3600
_MAX_STEP_PERCENT: Final = 50


class DeploymentConfigError(ValueError):
    """A deployment config that SageMaker would refuse."""


@dataclass(frozen=True)
class Rollout:
    """``shares``: percent of traffic on the new fleet, step by step, the last 100; times in seconds."""

    shares: tuple[float, ...] = (100.0,)
    wait: float = 0
    termination_wait: float = 0
    timeout: float = math.inf
    alarms: tuple[str, ...] = ()


def plan(deployment: Mapping[str, Any] | None, instances: int) -> Rollout:
    """The plan for an endpoint of so many instances; raises :class:`DeploymentConfigError`."""
    if not deployment:
        return Rollout()
    if "RollingUpdatePolicy" in deployment:
        raise DeploymentConfigError("this machine deploys blue/green only, not by RollingUpdatePolicy")
    policy = deployment.get("BlueGreenUpdatePolicy") or {}
    routing = policy.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    rollback = deployment.get("AutoRollbackConfiguration") or {}
    return Rollout(
        shares=_shares(routing, instances),
        wait=_seconds(routing, "WaitIntervalInSeconds"),
        termination_wait=_seconds(policy, "TerminationWaitInSeconds"),
        timeout=policy.get("MaximumExecutionTimeoutInSeconds") or math.inf,
        alarms=tuple(alarm["AlarmName"] for alarm in rollback.get("Alarms") or ()),
    )


def _shares(routing: Mapping[str, Any], instances: int) -> tuple[float, ...]:
    routing_type = routing.get("Type")
    if routing_type == "ALL_AT_ONCE":
        return (100.0,)
    if routing_type == "CANARY":
        return (_percent(routing, "CanarySize", instances), 100.0)
    if routing_type == "LINEAR":
        step = _percent(routing, "LinearStepSize", instances)
        steps = math.ceil(100 / step - 1e-9)
        return tuple(min(100.0, step * (index + 1)) for index in range(steps))
    raise DeploymentConfigError(
        f"TrafficRoutingConfiguration type must be ALL_AT_ONCE, CANARY or LINEAR, not {routing_type}"
    )


def _percent(routing: Mapping[str, Any], name: str, instances: int) -> float:
    size = routing.get(name)
    if not size:
        raise DeploymentConfigError(f"{name} is required with TrafficRoutingConfiguration type {routing['Type']}")
    value = float(size["Value"])
    percent = value if size["Type"] == "CAPACITY_PERCENT" else 100 * value / instances
    if not 0 < percent <= _MAX_STEP_PERCENT:
        raise DeploymentConfigError(f"{name} must be at most {_MAX_STEP_PERCENT} % of the capacity, not {percent:g} %")
    return percent


def _seconds(source: Mapping[str, Any], name: str) -> float:
    value = source.get(name) or 0
    if not 0 <= value <= _MAX_WAIT:
        raise DeploymentConfigError(f"{name} must be between 0 and {_MAX_WAIT} seconds, not {value}")
    return float(value)
