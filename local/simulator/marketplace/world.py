"""The simulated marketplace and its truth.

**Searches.** A user looks in a category they like; half of the candidates' weight is on that category, the rest on all
others. Context carries what is known when the ad is ranked: ``slot``, the user's ``affinity`` to the ad's category in
[0, 1], and ``hour_of_day``.

**The logger.** The incumbent orders by purchased slots: each day every ad draws a new slot, independent of anything
that users care about. History's positions are therefore as good as randomised.

**Truth.** A user examines position p with probability p ** -0.6, and then, with k for the preference of the phase:

    click          logit = -2.2 + k (0.75 image + 0.75 cheapness + 0.55 quality + 0.30 responsiveness + 0.90 affinity)
    contact|click  logit = -1.1 + k (0.70 responsiveness + 0.45 cheapness)
    sale|contact   logit =  0.0 + k 0.20 quality, for an amount of 20 exp(0.4 noise + k 0.2 dearness)

Terms are about standardised. Where k falls under 1 the intercepts move towards the mean answer of k = 1, so that the
market keeps its volume when it loses its preferences. Nobody but the truth sees ``quality``. Draws belong to
candidates, not to positions: two rankers that are compared in the same hour meet the same moods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adrank.contracts.events import SLOT_KEY
from adrank.contracts.timestamps import HOUR, as_utc, floor_hour
from ingestion.landing.changes import CdcTable
from simulator.marketplace.catalogue import Catalogue
from simulator.marketplace.searches import Floats, Ints, Outcome, Reactions, Searches, ranks
from simulator.marketplace.settings import WorldSettings

AFFINITY: Final = "affinity"
HOUR_OF_DAY: Final = "hour_of_day"
_CONTEXT: Final = (SLOT_KEY, AFFINITY, HOUR_OF_DAY)
_SECOND: Final = 1_000_000
_HOUR_US: Final = 3600 * _SECOND
_IN_CATEGORY: Final = 0.5


@dataclass(frozen=True)
class Chances:
    """Probabilities per candidate: of a click once examined, of a contact once clicked, of a sale once in contact.

    ``amount`` is the median revenue of a sale.
    """

    click: Floats
    contact: Floats
    sale: Floats
    amount: Floats


def examination(positions: Ints) -> Floats:
    """Probability that a user looks at 1-based ``positions``; 0 (not shown) is never looked at."""
    return np.where(positions > 0, np.maximum(positions, 1) ** -0.6, 0.0)


def daily_curve(hour_of_day: Ints | int) -> Floats:
    """Searches at that hour of the day over the day's mean: quiet at four in the morning, busy in the afternoon."""
    return np.asarray(1 - 0.6 * np.cos(2 * np.pi * (np.asarray(hour_of_day) - 4) / 24), dtype=np.float64)


class World:
    """Searches and reactions of any hour, each a function of the settings and the hour alone."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings)
        # An ad never changes its seller or category.
        self.ad_ids, self.seller_ids = self.catalogue.ad_ids, self.catalogue.seller_ids
        self.categories = self.catalogue.categories
        rng = np.random.default_rng([settings.seed, 2])
        self._affinity: Floats = np.round(rng.random((settings.users, settings.categories)), 3)
        activity = rng.gamma(4.0, size=settings.users)
        self._activity: Floats = activity / activity.sum()
        self._user_ids: npt.NDArray[np.str_] = np.array([f"user-{i:05d}" for i in range(settings.users)])
        users = rng.integers(0, settings.users, 20 * settings.ads)
        ads = np.tile(np.arange(settings.ads), 20)
        typical = self._chances(ads, self._affinity[users, self.catalogue.category[ads]], 0, 1.0)
        click_weight = typical.click / typical.click.sum()
        self._neutral = (_logit(typical.click.mean()), _logit(float(click_weight @ typical.contact)))

    def searches(self, hour: datetime, serials: range | None = None) -> Searches:
        """As many searches of one hour as there are ``serials``; without them, as many as the day's curve brings."""
        settings, index = self.settings, self._index(hour)
        rng = np.random.default_rng([settings.seed, 3, index])
        natural = int(rng.poisson(settings.searches_per_hour * daily_curve(hour.hour)))
        count = natural if serials is None else len(serials)
        users = rng.choice(settings.users, count, p=self._activity)
        wanted = self._wanted_categories(rng, users)
        ads = self._candidates(rng, wanted, index)
        flat = ads.ravel()
        searcher = np.repeat(users, ads.shape[1])
        context = np.column_stack(
            [
                self._slots(index)[flat],
                self._affinity[searcher, self.catalogue.category[flat]],
                np.full(len(flat), float(hour.hour)),
            ]
        )
        start = hour.timestamp() * _SECOND
        stamp = f"{as_utc(hour):%Y%m%d%H}"
        return Searches(
            search_ids=tuple(f"q-{stamp}-{i:05d}" for i in range(count)),
            user_ids=tuple(self._user_ids[users].tolist()),
            session_ids=tuple(f"s-{stamp}-{user:05d}" for user in users),
            times=np.sort(rng.integers(0, _HOUR_US, count)) + int(start),
            first=np.arange(count + 1, dtype=np.int64) * ads.shape[1],
            ads=flat,
            context_names=_CONTEXT,
            context=context,
        )

    def slot_positions(self, searches: Searches) -> Ints:
        """Positions that the incumbent gives: by slot."""
        return ranks(searches, -searches.context[:, 0])

    def chances(self, hour: datetime, searches: Searches) -> Chances:
        """The truth about each candidate in that hour."""
        preference = (
            self.settings.history_preference if hour < self.settings.live_start else self.settings.live_preference
        )
        return self._chances(searches.ads, searches.context[:, 1], self._index(hour), preference)

    def react(self, hour: datetime, searches: Searches, positions: Ints) -> Reactions:
        """Draw answers to candidates shown at ``positions``; all of them come within 50 minutes."""
        rng = np.random.default_rng([self.settings.seed, 4, self._index(hour)])
        chances, n = self.chances(hour, searches), len(searches.ads)
        draws, noise, waits = rng.random((3, n)), rng.normal(size=n), rng.exponential(size=(3, n))
        clicked = draws[0] < examination(positions) * chances.click
        contacted = clicked & (draws[1] < chances.contact)
        sold = contacted & (draws[2] < chances.sale)
        seconds = np.minimum(np.cumsum(waits * [[20.0], [90.0], [420.0]], axis=0), 3000.0)
        delay = (seconds * _SECOND).astype(np.int64) + 1
        nothing = np.full(n, np.nan)
        amount = np.round(chances.amount * np.exp(0.4 * noise), 2)
        return Reactions(
            click=Outcome(clicked, delay[0], nothing),
            contact=Outcome(contacted, delay[1], nothing),
            sale=Outcome(sold, delay[2], np.where(sold, amount, np.nan)),
        )

    def changes(self, hour: datetime) -> Iterator[tuple[CdcTable, list[dict[str, Any]]]]:
        """Debezium envelopes of what changed in the catalogue during the hour, by table."""
        for table, _, envelopes in self.catalogue.envelopes(hour, hour + HOUR):
            yield table, envelopes

    def expected_contacts(self, hour: datetime, searches: Searches, positions: Ints) -> float:
        """The true mean of contacts per search under these positions, without the noise of drawing."""
        chances = self.chances(hour, searches)
        return float((examination(positions) * chances.click * chances.contact).sum() / max(len(searches), 1))

    def _index(self, hour: datetime) -> int:
        return (floor_hour(hour) - self.settings.start) // HOUR

    def _wanted_categories(self, rng: np.random.Generator, users: Ints) -> Ints:
        cumulated = np.cumsum(self._affinity[users] + 0.05, axis=1)
        drawn = rng.random(len(users))[:, None] * cumulated[:, -1:]
        return np.asarray((drawn > cumulated).sum(axis=1))

    def _candidates(self, rng: np.random.Generator, wanted: Ints, index: int) -> Ints:
        """``[searches, candidates]`` distinct live ads: weighted draws without replacement by exponential races."""
        live = np.flatnonzero(self.catalogue.at_hour(index).live)
        category = self.catalogue.category[live]
        size = np.bincount(category, minlength=self.settings.categories)
        others = np.maximum(len(live) - size, 1)
        count = min(self.settings.candidates, len(live))
        own = category[None, :] == wanted[:, None]
        weight = np.where(
            own, _IN_CATEGORY / np.maximum(size[wanted], 1)[:, None], (1 - _IN_CATEGORY) / others[wanted][:, None]
        )
        race = rng.standard_exponential(weight.shape) / weight
        return np.asarray(live[np.argpartition(race, count - 1, axis=1)[:, :count]])

    def _slots(self, index: int) -> Floats:
        day = index // 24
        rng = np.random.default_rng([self.settings.seed, 5, day])
        return rng.permutation(self.settings.ads).astype(np.float64) + 1

    def _chances(self, ads: Ints, affinity: Floats, index: int, preference: float) -> Chances:
        catalogue = self.catalogue
        dear = np.clip(catalogue.at_hour(index).price_deviation[ads], -1.0, 1.0) / 0.45
        image = (catalogue.image_quality[ads] - 0.6) / 0.2
        quality = catalogue.quality[ads]
        responsive = catalogue.responsiveness[catalogue.sellers[ads]]
        liking = (affinity - 0.5) / 0.29
        click = -2.2 + 0.75 * image - 0.75 * dear + 0.55 * quality + 0.30 * responsive + 0.90 * liking
        contact = -1.1 + 0.70 * responsive - 0.45 * dear
        if preference != 1:
            click = preference * click + (1 - preference) * self._neutral[0]
            contact = preference * contact + (1 - preference) * self._neutral[1]
        return Chances(
            click=_sigmoid(click),
            contact=_sigmoid(contact),
            sale=_sigmoid(preference * 0.20 * quality),
            amount=20 * np.exp(preference * 0.2 * dear),
        )


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
