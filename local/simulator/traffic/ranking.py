"""What live traffic asks of whoever ranks, the answer that it accepts, and the router as one who ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np

from adrank.contracts import settings
from serving.router.router import Router
from simulator.marketplace.event_rows import Exposure
from simulator.marketplace.searches import Ints, Searches, SearchSource

#: Longer than a user would wait: on a laptop the endpoints share their cores with training and Spark.
_TIMEOUT_SECONDS: Final = 5.0


class UnusableRankingError(RuntimeError):
    """An answer that is not a ranking of the candidates that were sent."""


class Ranked(NamedTuple):
    """Ads, best first, and who ranked them."""

    ads: list[str]
    exposure: Exposure


#: Ranks one request (the endpoint's rank request JSON). Any exception is a failed request.
RankCall = Callable[[dict[str, Any]], Ranked]


def request(searches: Searches, index: int, source: SearchSource) -> dict[str, Any]:
    """The rank request of one search; absent context features, unknown sellers and categories are left out."""
    candidates = []
    for row in range(int(searches.first[index]), int(searches.first[index + 1])):
        ad = searches.ads[row]
        values = zip(searches.context_names, searches.context[row].tolist(), strict=True)
        names = {"seller_id": str(source.seller_ids[ad]), "category": str(source.categories[ad])}
        candidates.append(
            {
                "ad_id": str(source.ad_ids[ad]),
                **{name: value for name, value in names.items() if value},
                "context": {n: v for n, v in values if not math.isnan(v)},
            }
        )
    return {
        "search_id": searches.search_ids[index],
        "user_id": searches.user_ids[index],
        "event_time": datetime.fromtimestamp(int(searches.times[index]) / 1e6, UTC).isoformat(),
        "candidates": candidates,
    }


def positions(sent: dict[str, Any], ranked: Ranked) -> Ints:
    """1-based position of each candidate in the order in which they were sent."""
    place = {ad: position for position, ad in enumerate(ranked.ads, 1)}
    ads = [candidate["ad_id"] for candidate in sent["candidates"]]
    if len(ranked.ads) != len(ads) or place.keys() != set(ads):
        raise UnusableRankingError("the ranking does not hold every candidate once")
    return np.array([place[ad] for ad in ads], dtype=np.int64)


def router_client(endpoint: str, experiments_table: str) -> RankCall:
    """Rank by the router in front of ``endpoint``."""
    router = Router(endpoint, experiments_table, region=settings.load().region, timeout_seconds=_TIMEOUT_SECONDS)

    def rank(request: dict[str, Any]) -> Ranked:
        response = router.rank(request)
        exposure = Exposure(response.exposure.model_version, response.exposure.experiment_id, response.exposure.variant)
        return Ranked(list(response.ranking), exposure)

    return rank
