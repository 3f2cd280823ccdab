"""What live traffic asks of whoever ranks, and the answer that it accepts."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from simulator.marketplace.event_rows import Exposure
from simulator.marketplace.searches import Ints, Searches, SearchSource


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
        known = {"seller_id": str(source.seller_ids[ad]), "category": str(source.categories[ad])}
        candidates.append(
            {
                "ad_id": str(source.ad_ids[ad]),
                **{name: value for name, value in known.items() if value},
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
    asked = [candidate["ad_id"] for candidate in sent["candidates"]]
    if len(ranked.ads) != len(asked) or place.keys() != set(asked):
        raise UnusableRankingError("the ranking does not hold every candidate once")
    return np.array([place[ad] for ad in asked], dtype=np.int64)
