"""The A/B experiment as the router, the DAG and the analysis see it.

One DynamoDB item per experiment: partition key ``endpoint`` (the production endpoint), sort key ``experiment_id``.
The unit is the user. Assignment is a pure function of salt and user, so it is sticky without being stored.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final, Literal

from pydantic import Field

from adrank.contracts.base import FrozenModel

Variant = Literal["control", "treatment"]
_BUCKETS: Final = 10_000


class Experiment(FrozenModel):
    """Routing instructions. ``start`` is event time: requests before it go to control and are not counted."""

    experiment_id: str
    salt: str
    treatment_share: float = Field(gt=0, lt=1)
    control_endpoint: str
    treatment_endpoint: str
    start: datetime
    status: Literal["running", "stopped"]
    package_digest: str = Field(description="of the package that treatment serves")


def bucket(salt: str, user_id: str) -> int:
    """The user's bucket in ``[0, 10000)``, uniform over users and independent between salts."""
    digest = hashlib.sha256(f"{salt}\0{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BUCKETS


def assign(salt: str, treatment_share: float, user_id: str) -> Variant:
    """The variant of a user: the lowest ``treatment_share`` of the buckets is treatment."""
    return "treatment" if bucket(salt, user_id) < round(treatment_share * _BUCKETS) else "control"
