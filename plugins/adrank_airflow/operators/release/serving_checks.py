"""Ask an endpoint what it serves: the scores that were promised, the package that was approved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adrank.contracts import packages
from adrank.contracts.packages import GoldenRequests
from adrank_airflow.errors import DeploymentRolledBackError, ParityError, WrongPackageServedError
from adrank_airflow.operators.release.endpoint import PackageEndpointOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_SCORE_TOLERANCE = 1e-6
_PROBES = 20


class CheckParityOperator(PackageEndpointOperator):
    """Send the package's golden requests to an endpoint and compare every score with the one that was promised."""

    returns = ("compared", "package_digest")
    template_fields: Sequence[str] = ("package_digest", "golden_key")

    def __init__(self, *, golden_key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.golden_key = golden_key

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how many scores agreed."""
        del context
        golden = GoldenRequests.model_validate(self.lake.read_json(self.golden_key))
        response = self.endpoints.invoke(self.endpoint, {"vectors": golden.vectors})
        if response["package_digest"] != self.package_digest:
            raise WrongPackageServedError(
                f"{self.endpoint} serves {response['package_digest'][:12]}, not {self.package_digest[:12]}"
            )
        if len(response["scores"]) != len(golden.scores):
            raise ParityError(f"{len(golden.scores)} golden vectors, {len(response['scores'])} scores")
        for row, (expected, served) in enumerate(zip(golden.scores, response["scores"], strict=True)):
            if not math.isclose(expected, served, rel_tol=_SCORE_TOLERANCE, abs_tol=_SCORE_TOLERANCE):
                raise ParityError(f"golden vector {row}: {packages.GOLDEN} promises {expected!r}, served {served!r}")
        return {"compared": len(golden.scores), "package_digest": response["package_digest"]}


class VerifyServingOperator(PackageEndpointOperator):
    """Ask the endpoint itself, many times, which package it serves: all answers must name the approved one."""

    returns = ("package_digest", "endpoint_config", "verified")
    template_fields: Sequence[str] = ("package_digest", "endpoint_config")

    def __init__(self, *, endpoint_config: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint_config = endpoint_config

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what was verified."""
        del context
        current = self.endpoints.describe(self.endpoint) or {}
        if current.get("EndpointConfigName") != self.endpoint_config:
            raise DeploymentRolledBackError(
                f"{self.endpoint} is on {current.get('EndpointConfigName')}, not on {self.endpoint_config}"
            )
        served = {self.endpoints.invoke(self.endpoint, {"probe": True})["package_digest"] for _ in range(_PROBES)}
        if served != {self.package_digest}:
            raise WrongPackageServedError(
                f"{self.endpoint} answers with {', '.join(sorted(d[:12] for d in served))}; "
                f"approved was {self.package_digest[:12]}"
            )
        return {"package_digest": self.package_digest, "endpoint_config": self.endpoint_config, "verified": True}
