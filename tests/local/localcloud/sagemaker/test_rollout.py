"""Rollout plans."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.sagemaker import rollout
from localcloud.sagemaker.rollout import DeploymentConfigError


def deployment(kind: str, wait: int = 60, **routing: Any) -> dict[str, Any]:
    traffic = {"Type": kind, "WaitIntervalInSeconds": wait, **routing}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": 30}}


def size(value: int, kind: str = "CAPACITY_PERCENT") -> dict[str, Any]:
    return {"Type": kind, "Value": value}


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        (None, (100,)),
        (deployment("ALL_AT_ONCE"), (100,)),
        (deployment("CANARY", CanarySize=size(10)), (10, 100)),
        (deployment("LINEAR", LinearStepSize=size(20)), (20, 40, 60, 80, 100)),
        (deployment("LINEAR", LinearStepSize=size(30)), (30, 60, 90, 100)),
        (deployment("LINEAR", LinearStepSize=size(1, "INSTANCE_COUNT")), (25, 50, 75, 100)),
    ],
)
def test_traffic_moves_in_the_steps_that_were_asked_for(config: Any, shares: tuple[float, ...]) -> None:
    assert rollout.plan(config, instances=4).shares == shares


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (deployment("LINEAR"), "LinearStepSize is required"),
        (deployment("CANARY", CanarySize=size(51)), "at most 50 %"),
        (deployment("ZIGZAG"), "must be ALL_AT_ONCE, CANARY or LINEAR"),
        (deployment("ALL_AT_ONCE", wait=3601), "between 0 and 3600"),
        ({"RollingUpdatePolicy": {}}, "RollingUpdatePolicy"),
    ],
)
def test_impossible_deployments_are_refused(config: Any, says: str) -> None:
    with pytest.raises(DeploymentConfigError, match=says):
        rollout.plan(config, instances=4)
