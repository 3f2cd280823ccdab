"""The router as live traffic calls it."""

from __future__ import annotations

from typing import Any, Final

from adrank.contracts import settings
from serving.router.router import Router
from simulator.marketplace.event_rows import Exposure
from simulator.traffic.ranking import RankCall, Ranked

#: Longer than a user would wait: on a laptop the endpoints share their cores with training and Spark.
_TIMEOUT_SECONDS: Final = 5.0


def router_client(endpoint: str, experiments_table: str) -> RankCall:
    """Rank by the router in front of ``endpoint``."""
    router = Router(endpoint, experiments_table, region=settings.load().region, timeout_seconds=_TIMEOUT_SECONDS)

    def rank(request: dict[str, Any]) -> Ranked:
        answer = router.rank(request)
        exposure = Exposure(answer.exposure.model_version, answer.exposure.experiment_id, answer.exposure.variant)
        return Ranked(list(answer.ranking), exposure)

    return rank
