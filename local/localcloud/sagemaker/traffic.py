"""Who answers the requests of an endpoint: fleets with shares of the traffic, variants with weights.

A route is replaced whole, so the gateway's event loop reads a consistent one without a lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from localcloud.sagemaker.serving_process import ServingError, ServingProcess

_SETTLE: Final = 0.2
_POLL: Final = 0.02


class UnknownVariantError(LookupError):
    """The request names a variant that the endpoint does not have."""


@dataclass(frozen=True)
class Variant:
    """A production variant: its name, weight and process (instances collapse to one)."""

    name: str
    weight: float
    process: ServingProcess
    ping_timeout: float


@dataclass(eq=False)
class Fleet:
    """The running variants of one endpoint config. The counters belong to the gateway's event loop."""

    config_name: str
    variants: tuple[Variant, ...]
    in_flight: int = field(default=0)
    served: int = field(default=0)

    def start(self) -> None:
        """Start all variants at the same time; on a failure stop them and raise :class:`ServingError`."""
        failures: dict[str, ServingError] = {}

        def start(variant: Variant) -> None:
            try:
                variant.process.start(variant.ping_timeout)
            except ServingError as error:
                failures[variant.name] = error

        starters = [threading.Thread(target=start, args=(variant,)) for variant in self.variants]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        if failures:
            self.stop()
            name, error = next(iter(failures.items()))
            raise ServingError(
                f"The primary container for production variant {name} did not pass the ping health check. "
                f"Please check CloudWatch logs for this endpoint. ({error})"
            )

    def stop(self) -> None:
        """Stop all variants."""
        for variant in self.variants:
            variant.process.stop()

    def drain(self, timeout: float) -> None:
        """Wait until no request is under way; only of use once no route leads here."""
        # A request that read the old route just before it was replaced is counted a moment later.
        time.sleep(_SETTLE)
        deadline = time.monotonic() + timeout
        while self.in_flight and time.monotonic() < deadline:
            time.sleep(_POLL)

    def choose(self, target: str | None, generator: random.Random) -> Variant:
        """The named variant, or one by weight."""
        if target is None:
            return generator.choices(self.variants, [variant.weight for variant in self.variants])[0]
        for variant in self.variants:
            if variant.name == target:
                return variant
        raise UnknownVariantError(f"Variant {target} not found")


@dataclass(frozen=True)
class Route:
    """Fleets and their percent of the traffic, together 100."""

    shares: tuple[tuple[Fleet, float], ...]

    @classmethod
    def split(cls, blue: Fleet, green: Fleet, green_percent: float) -> Route:
        """``green_percent`` to green, the rest to blue."""
        shares = ((blue, 100 - green_percent), (green, green_percent))
        return cls(tuple((fleet, share) for fleet, share in shares if share > 0))

    def choose(self, generator: random.Random) -> Fleet:
        """A fleet by its share."""
        if len(self.shares) == 1:
            return self.shares[0][0]
        fleets: Sequence[Fleet] = [fleet for fleet, _ in self.shares]
        return generator.choices(fleets, [share for _, share in self.shares])[0]


Routes = dict[str, Route]
