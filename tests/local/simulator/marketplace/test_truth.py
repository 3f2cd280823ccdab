"""The two documented worlds: in one there is something to learn, in the other it no longer helps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from adrank.contracts import timestamps
from adrank.contracts.timestamps import HOUR
from simulator.marketplace.searches import Floats, Searches, ranks
from simulator.marketplace.settings import documented_world
from simulator.marketplace.world import World, examination

LIVE_START = datetime(2026, 3, 9, tzinfo=UTC)
LIVE = list(timestamps.hours(LIVE_START, LIVE_START + timedelta(hours=24)))


class LearnedFromHistory:
    """Least squares of contacts and clicks on what the platform can observe. It knows nothing of the truth."""

    def __init__(self, world: World) -> None:
        self._world = world
        n, sellers = len(world.ad_ids), world.catalogue.sellers
        looked, clicks, contacts = np.zeros(n), np.zeros(n), np.zeros(n)
        seen: list[tuple[datetime, Searches, Floats]] = []
        for hour in timestamps.hours(world.settings.start, world.settings.live_start):
            searches = world.searches(hour)
            positions = world.slot_positions(searches)
            reactions = world.react(hour, searches, positions)
            looked += np.bincount(searches.ads, weights=examination(positions), minlength=n)
            clicks += np.bincount(searches.ads, weights=reactions.click.happened, minlength=n)
            contacts += np.bincount(searches.ads, weights=reactions.contact.happened, minlength=n)
            seen.append((hour, searches, reactions.contact.happened + 0.25 * reactions.click.happened))
        by_seller = [np.bincount(sellers, weights=counts) for counts in (contacts, looked)]
        self._ctr = (clicks + 3) / (looked + 15)
        self._seller_rate = ((by_seller[0] + 1) / (by_seller[1] + 15))[sellers]
        inputs = np.vstack([self._observed(hour, searches) for hour, searches, _ in seen])
        self._weights = np.linalg.lstsq(inputs, np.concatenate([labels for _, _, labels in seen]), rcond=None)[0]

    def score(self, hour: datetime, searches: Searches) -> Floats:
        return np.asarray(self._observed(hour, searches) @ self._weights)

    def _observed(self, hour: datetime, searches: Searches) -> Floats:
        catalogue, ads = self._world.catalogue, searches.ads
        stock = catalogue.at_hour((hour - self._world.settings.start) // HOUR)
        image = np.where(catalogue.image_known, catalogue.image_quality, 0.6)[ads]
        dear = np.clip(stock.price_deviation[ads], -1, 1)
        affinity = searches.context[:, searches.context_names.index("affinity")]
        columns: list[npt.NDArray[np.float64]] = [image, dear, affinity, self._ctr[ads], self._seller_rate[ads]]
        return np.column_stack([np.ones(len(ads)), *columns])


Score = Callable[[datetime, Searches], Floats]


def contacts_per_search(world: World, score: Score | None = None, hours: list[datetime] = LIVE) -> float:
    """True mean over the hours: by slots, or by falling score."""
    total = searches_seen = 0.0
    for hour in hours:
        searches = world.searches(hour)
        positions = ranks(searches, score(hour, searches)) if score else world.slot_positions(searches)
        total += world.expected_contacts(hour, searches, positions) * len(searches)
        searches_seen += len(searches)
    return total / searches_seen


@pytest.fixture(scope="module")
def learnable() -> World:
    return World(documented_world(7, LIVE_START))


@pytest.fixture(scope="module")
def season_over() -> World:
    return World(documented_world(8, LIVE_START))


def test_seed_7_rewards_learning_from_history_with_over_40_percent_more_contacts(learnable: World) -> None:
    slots = contacts_per_search(learnable)
    learned = contacts_per_search(learnable, LearnedFromHistory(learnable).score)
    assert learned / slots - 1 > 0.4
    assert 0.2 < slots < 0.6


def test_seed_7_has_a_ceiling_that_only_the_truth_reaches(learnable: World) -> None:
    def truth(hour: datetime, searches: Searches) -> Floats:
        chances = learnable.chances(hour, searches)
        return chances.click * chances.contact

    assert contacts_per_search(learnable, truth) > contacts_per_search(learnable, LearnedFromHistory(learnable).score)


def test_seed_7_drawn_contacts_agree_with_the_true_mean(learnable: World) -> None:
    drawn = expected = searches_seen = 0.0
    for hour in LIVE:
        searches = learnable.searches(hour)
        positions = learnable.slot_positions(searches)
        drawn += float(learnable.react(hour, searches, positions).contact.happened.sum())
        expected += learnable.expected_contacts(hour, searches, positions) * len(searches)
        searches_seen += len(searches)
    assert abs(drawn - expected) < 4 * np.sqrt(expected)


def test_seed_8_taught_the_same_in_history_but_no_ranking_is_better_live(season_over: World) -> None:
    learned = LearnedFromHistory(season_over)
    slots = contacts_per_search(season_over)
    assert contacts_per_search(season_over, learned.score) == pytest.approx(slots, rel=1e-12)
    history = list(timestamps.hours(LIVE_START - timedelta(hours=24), LIVE_START))
    in_history = contacts_per_search(season_over, hours=history)
    assert contacts_per_search(season_over, learned.score, history) / in_history - 1 > 0.4


def test_seed_8_keeps_the_volume_of_the_market(season_over: World) -> None:
    live = contacts_per_search(season_over)
    assert 0.2 < live < 0.6


def test_revenue_of_a_sale_is_the_same_for_every_ad_when_the_season_is_over(season_over: World) -> None:
    searches = season_over.searches(LIVE_START)
    chances = season_over.chances(LIVE_START, searches)
    assert np.ptp(chances.amount) == np.ptp(chances.sale) == np.ptp(chances.click) == 0
