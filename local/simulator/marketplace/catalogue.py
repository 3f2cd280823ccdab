"""Ads and sellers of the simulated marketplace, how they change, and the change data that tells of it.

A tenth of the ads appear during history, one in a hundred is withdrawn, and prices change about once in two weeks. A
change counts from the next whole hour. The image quality of one ad in twenty is unknown to the platform, while users
see the image all the same. Titles say nothing about what an ad is worth; one ad in fifty has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adrank.contracts import timestamps
from adrank.contracts.timestamps import HOUR, micros
from ingestion.landing.changes import CdcTable
from simulator.marketplace.searches import Bools, Floats, Ints
from simulator.marketplace.settings import WorldSettings

#: Days after live_start for which changes are drawn; a marketplace that runs longer stands still.
LIVE_DAYS: Final = 14
_HOUR_US: Final = 3_600_000_000
_FOREVER: Final = 1e9
_WORDS: Final = (
    *("as good as new", "barely used", "box", "chair", "children's", "collector's item", "complete", "cover", "desk"),
    *("garden", "guitar", "ideal for beginners", "jacket", "kitchen", "lamp", "leather", "mountain bike", "oak", "old"),
    *("original packaging", "set of four", "silver", "small", "spare parts", "with receipt", "without charger"),
)


@dataclass(frozen=True)
class CatalogueHour:
    """What is on offer in one hour: price of every ad, which are live, and log of price over the category's mean."""

    price: Floats
    live: Bools
    price_deviation: Floats


class Catalogue:
    """All ads and sellers that ever are. Hours are counted from the start of history, as floats inside an hour."""

    def __init__(self, settings: WorldSettings) -> None:
        rng = np.random.default_rng([settings.seed, 1])
        n, horizon = settings.ads, settings.history_hours + 24 * LIVE_DAYS
        self._settings = settings
        self.ad_ids: npt.NDArray[np.str_] = np.array([f"ad-{i:05d}" for i in range(n)])
        self.sellers: Ints = rng.integers(0, settings.sellers, n)
        seller_names: npt.NDArray[np.str_] = np.array([f"seller-{i:04d}" for i in range(settings.sellers)])
        self.seller_ids: npt.NDArray[np.str_] = seller_names[self.sellers]
        self._seller_names = seller_names
        self.category: Ints = rng.integers(0, settings.categories, n)
        self.categories: npt.NDArray[np.str_] = np.array([f"category-{number:02d}" for number in self.category])
        level = rng.uniform(2.5, 5.5, settings.categories)
        self.base_price: Floats = np.round(np.exp(level[self.category] + rng.normal(0, 0.45, n)), 2).astype(np.float64)
        self.image_quality: Floats = np.round(rng.beta(3, 2, n), 4)
        self.image_known: Bools = rng.random(n) >= 0.05
        self.quality: Floats = rng.normal(0, 1, n)
        self.responsiveness: Floats = rng.normal(0, 1, settings.sellers)
        fresh = rng.random(n) < 0.1
        self.created: Floats = np.where(fresh, rng.uniform(1, settings.history_hours, n), -rng.uniform(24, 400 * 24, n))
        withdrawn = rng.random(n) < 0.01
        self.removed: Floats = np.where(withdrawn, rng.uniform(settings.history_hours / 2, horizon, n), _FOREVER)
        self._draw_price_changes(rng, horizon)
        self.titles: list[str | None] = _titles(np.random.default_rng([settings.seed, 8]), n)

    def _draw_price_changes(self, rng: np.random.Generator, horizon: int) -> None:
        count = rng.poisson(len(self.ad_ids) * horizon / (14 * 24))
        times = np.sort(rng.uniform(1, horizon, count))
        ads = rng.integers(0, len(self.ad_ids), count)
        factors = np.exp(rng.normal(0, 0.15, count))
        alive = (times > self.created[ads] + 1) & (times < self.removed[ads] - 1)
        self._change_times: Floats = times[alive]
        self._change_ads: Ints = ads[alive]
        price = self.base_price.copy()
        after = np.empty(int(alive.sum()))
        for i, (ad, factor) in enumerate(zip(ads[alive], factors[alive], strict=True)):
            after[i] = price[ad] = round(float(price[ad]) * float(factor), 2)
        self._change_prices: Floats = after

    def _prices(self, hour: float) -> Floats:
        price = self.base_price.copy()
        until = np.searchsorted(self._change_times, hour)
        price[self._change_ads[:until]] = self._change_prices[:until]
        return price

    def at_hour(self, hour: int) -> CatalogueHour:
        """The offer in the hour that starts ``hour`` hours after the start of history."""
        price = self._prices(hour)
        live = (self.created < hour) & (self.removed >= hour)
        categories = self._settings.categories
        total = np.bincount(self.category, weights=price * live, minlength=categories)
        count = np.maximum(np.bincount(self.category, weights=live, minlength=categories), 1)
        mean = np.where(total > 0, total / count, 1.0)
        return CatalogueHour(price, live, np.log(price / mean[self.category]))

    def envelopes(self, start: datetime, end: datetime) -> Iterator[tuple[CdcTable, datetime, list[dict[str, Any]]]]:
        """Debezium envelopes as (table, hour, envelopes) for the hours in ``[start, end)`` that have any.

        The first hour of history holds the snapshot of what was there before.
        """
        for hour in timestamps.hours(start, end):
            index = (hour - self._settings.start) // HOUR
            if index == 0:
                yield "sellers", hour, self._seller_snapshot()
            if changes := self._ad_envelopes(index):
                yield "ads", hour, changes

    def _ad_envelopes(self, hour: int) -> list[dict[str, Any]]:
        found: list[tuple[float, str, int, float | None, float | None]] = []
        if hour == 0:
            found += [(0.0, "r", ad, None, self.base_price[ad]) for ad in _true(self.created < 0)]
        for ad in _true((self.created >= hour) & (self.created < hour + 1)):
            found.append((self.created[ad], "c", ad, None, self.base_price[ad]))
        for change in range(*np.searchsorted(self._change_times, [hour, hour + 1])):
            ad, time = int(self._change_ads[change]), float(self._change_times[change])
            found.append((time, "u", ad, self._prices(time)[ad], self._change_prices[change]))
        for ad in _true((self.removed >= hour) & (self.removed < hour + 1)):
            found.append((self.removed[ad], "d", ad, self._prices(self.removed[ad])[ad], None))
        return [
            self._envelope(
                "ads", time, op, hour * 1_000_000 + number, self._ad_row(ad, before), self._ad_row(ad, after)
            )
            for number, (time, op, ad, before, after) in enumerate(sorted(found))
        ]

    def _seller_snapshot(self) -> list[dict[str, Any]]:
        oldest = np.full(self._settings.sellers, -24.0)
        np.minimum.at(oldest, self.sellers, self.created - 24)
        return [
            self._envelope(
                "sellers", 0, "r", number, None, {"seller_id": str(name), "created_at": self._micros(oldest[number])}
            )
            for number, name in enumerate(self._seller_names)
        ]

    def _ad_row(self, ad: int, price: float | None) -> dict[str, Any] | None:
        if price is None:
            return None
        return {
            "ad_id": str(self.ad_ids[ad]),
            "seller_id": str(self.seller_ids[ad]),
            "category": str(self.categories[ad]),
            "title": self.titles[ad],
            "price": float(price),
            "created_at": self._micros(self.created[ad]),
            "image_quality_score": float(self.image_quality[ad]) if self.image_known[ad] else None,
        }

    def _envelope(
        self, table: str, time: float, op: str, lsn: int, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> dict[str, Any]:
        source = {"table": table, "lsn": lsn}
        return {"op": op, "ts_ms": self._micros(time) // 1000, "before": before, "after": after, "source": source}

    def _micros(self, hour: float) -> int:
        return micros(self._settings.start) + int(hour * _HOUR_US)


def _titles(rng: np.random.Generator, count: int) -> list[str | None]:
    """Titles of one to eight words or phrases; None for one in fifty."""
    lengths = np.where(rng.random(count) < 0.02, 0, rng.integers(1, 9, count))
    words = rng.integers(0, len(_WORDS), (count, 8))
    return [
        " ".join(_WORDS[word] for word in drawn[:length]) or None for drawn, length in zip(words, lengths, strict=True)
    ]


def _true(mask: Bools) -> list[int]:
    found: list[int] = np.flatnonzero(mask).tolist()
    return found
