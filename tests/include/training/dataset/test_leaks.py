"""What the future knows raises offline NDCG only where a join lets it in; the point-in-time set does not.

The market is made so that the past tells nothing of the future: in every hour each ad's appeal is drawn anew. A stored
feature holds the clicks of the hour *after* its ``feature_time``, and its row honestly says that it became available
ten minutes after that hour. Whoever joins by ``feature_time`` reads the answers off the feature; whoever joins by
``available_at`` reads last hour's, which are worth nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from adrank.contracts import registry
from adrank.contracts.entry_points.training import Hyperparameters
from adrank.contracts.registry import user_category
from adrank.contracts.timestamps import micros
from adrank.decisions.gate import Difference
from tests.include.training.logs import (
    HOUR,
    MINUTE,
    NOON,
    FeatureRow,
    Log,
    Row,
    answered,
    clicked,
    shown,
    write_ads,
    write_features,
)
from training.dataset import training_set
from training.model import lambdarank
from training.model.ndcg import paired_difference

HOURS, SEARCHES_PER_HOUR, ADS, CANDIDATES = 48, 20, 40, 8
LAG = 10 * MINUTE
MIDDLE = NOON + 20 * HOUR
FORESIGHT: Final = "clicks_after"
MODEL = Hyperparameters(learning_rate=0.1, num_leaves=7, min_data_in_leaf=20, num_boost_round=40, seed=3, folds=2)
REGISTRY = registry.parse(
    f"""
groups:
  foresight:
    entity: ad
    inputs: [ads]
    store: redis
    cadence_minutes: 60
    lag_minutes: 10
    ttl_hours: 72
    owner: tests
    description: What nobody can know in time.
    features:
      - {{name: {FORESIGHT}, default: null, range: [0, 1.0e9], description: Clicks in the hour after feature_time.}}
"""
)
#: What everybody writes first: the feature of the hour, in its newest revision, whenever that became available.
NAIVE_JOIN = f"""
    COPY (
        SELECT t.* REPLACE (coalesce(f.{FORESIGHT}, 'NaN') AS {FORESIGHT})
        FROM read_parquet('{{split}}') AS t
        LEFT JOIN (
            SELECT entity_id, feature_time, arg_max({FORESIGHT}, available_at) AS {FORESIGHT}
            FROM read_parquet('{{features}}/**/*.parquet') GROUP BY ALL
        ) AS f ON f.entity_id = t.ad_id AND f.feature_time = date_trunc('hour', t.event_time)
        ORDER BY t.query_time, t.search_id, t.position
    ) TO '{{naive}}' (FORMAT parquet)
"""


@dataclass(frozen=True)
class Market:
    """A log, and the clicks of each ad in each hour after NOON."""

    rows: list[Row]
    clicks: Counter[tuple[str, int]]

    def known_late(self) -> list[FeatureRow]:
        """For every hour the clicks of the next one, available when that is over."""
        return [self._row(ad, hour, available=hour + 1, value=self.clicks[ad, hour]) for ad, hour in self._pairs()]

    def known_by(self, moment: datetime) -> list[FeatureRow]:
        """Of those the rows that were available at ``moment``."""
        return [row for row in self.known_late() if row[2] <= moment]

    def nothing_known(self) -> list[FeatureRow]:
        """What could honestly be said of each hour when it ended."""
        return [self._row(ad, hour, available=hour, value=0) for ad, hour in self._pairs()]

    def _pairs(self) -> list[tuple[str, int]]:
        return [(f"ad{ad}", hour) for hour in range(HOURS) for ad in range(ADS)]

    def _row(self, ad: str, hour: int, available: int, value: float) -> FeatureRow:
        return ad, NOON + hour * HOUR, NOON + available * HOUR + LAG, {FORESIGHT: value}


def market(seed: int = 11) -> Market:
    """Lists in random order; a click is a matter of the ad's appeal in that hour and of a price that is known."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    clicks: Counter[tuple[str, int]] = Counter()
    for hour in range(HOURS):
        appeal = rng.normal(size=ADS)
        for number in range(SEARCHES_PER_HOUR):
            at = NOON + hour * HOUR + number * 2 * MINUTE
            prices = rng.normal(size=CANDIDATES)
            for place, ad in enumerate(rng.choice(ADS, CANDIDATES, replace=False)):
                search, name = f"q{hour:02d}-{number:02d}", f"ad{ad}"
                rows.append(shown(search, name, at, place + 1, context={"price": float(prices[place])}))
                if rng.random() < 1 / (1 + np.exp(2 - 1.5 * appeal[ad] + 0.7 * prices[place])):
                    rows.append(clicked(search, name, at + MINUTE))
                    clicks[name, hour] += 1
    return Market(rows, clicks)


Rows = list[FeatureRow]
Relevance = NDArray[np.float64]


@dataclass(frozen=True)
class Offline:
    """NDCG@10 of each test query by how the model's training set was joined, and the point-in-time rows."""

    ndcg: dict[str, Relevance]
    point_in_time: dict[str, training_set.TrainingSet]

    def gain(self, joined: str) -> Difference:
        """Over the model that has no such feature; the interval holds the mean with 99 %."""
        one, other = self.ndcg[joined], self.ndcg["without"]
        found = paired_difference(one, other, np.ones_like(one), 0.99, 1000, 1)
        means = f"{np.nanmean(other):.4f} -> {np.nanmean(one):.4f}"
        print(f"{joined}: NDCG@10 {means}, gain {found.mean:+.4f} [{found.lower:+.4f}, {found.upper:+.4f}]")
        return found


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """Models of the same log, with the feature joined in either way, and without it."""
    root, history = tmp_path_factory.mktemp("leaks"), market()
    tables: dict[str, dict[int, Rows]] = {
        "a late hour": {0: history.known_late()},
        "a late revision": {0: history.nothing_known(), 1: history.known_late()},
        "a late hour until the middle": {0: history.known_by(MIDDLE)},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda: REGISTRY)
        without = Log(root / "without")
        build(without, history.rows, None)
        ndcg, sets = {"without": relevance(without.output)}, {}
        for name, revisions in tables.items():
            log = Log(root / name)
            for revision, rows in revisions.items():
                write_features(log.root / "in", "foresight", rows, revision)
            build(log, history.rows, log.root / "in")
            sets[name] = training_set.read(log.output)
            ndcg[f"{name}, point in time"] = relevance(log.output)
            ndcg[f"{name}, naive"] = relevance(joined_naively(log, log.root / "naive"))
    return Offline(ndcg, sets)


def build(log: Log, rows: Sequence[Row], features: Path | None) -> None:
    log.build(rows, as_of=NOON + (HOURS + 2) * HOUR, features=features, test_fraction=0.3)


def relevance(directory: Path) -> Relevance:
    """Of a model that learnt from the set's train split, on its test split."""
    data = training_set.read(directory)
    model = lambdarank.fit(data.train.with_positives(), MODEL, MODEL.num_boost_round, MODEL.num_leaves)
    return lambdarank.relevance(data.test, model.predict(data.test.features))


def joined_naively(log: Log, output: Path) -> Path:
    """The same set with the feature as a join by feature_time alone gives it."""
    output.mkdir()
    (output / training_set.MANIFEST).write_bytes((log.output / training_set.MANIFEST).read_bytes())
    for split in (training_set.TRAIN, training_set.TEST):
        places = {"split": log.output / split, "features": log.root / "in", "naive": output / split}
        duckdb.sql(NAIVE_JOIN.format(**places))
    return output


@pytest.mark.parametrize("how", ["a late hour", "a late revision"])
def test_a_naive_join_shows_a_gain_that_the_point_in_time_set_does_not(offline: Offline, how: str) -> None:
    naive, honest = offline.gain(f"{how}, naive"), offline.gain(f"{how}, point in time")
    assert naive.lower > 0.1, "the leak is large, so not to see it means something"
    assert honest.lower < 0 < honest.upper or honest.upper < 0, "no gain that noise does not explain"
    assert honest.upper < naive.lower / 5


def test_what_becomes_available_later_may_be_deleted_without_changing_a_row(offline: Offline) -> None:
    whole, until = (offline.point_in_time[name] for name in ("a late hour", "a late hour until the middle"))
    column = whole.manifest.features.index(FORESIGHT)
    before = whole.train.query_time <= micros(MIDDLE)
    one, other = whole.train.features[:, column], until.train.features[:, column]
    assert 1000 < before.sum() < len(before)
    np.testing.assert_array_equal(one[before], other[before])
    assert (one[~before] != other[~before]).any(), "afterwards it is missed"
    assert np.nanmax(one[before]) > 0


def test_a_late_revision_is_not_seen_before_its_time_and_is_seen_after(log: Log) -> None:
    hour, revised_at = NOON - HOUR, NOON + 30 * MINUTE
    first = ("a", hour, hour + LAG, {"clicks_7d": 1.0})
    revised = ("a", hour, revised_at, {"clicks_7d": 2.0})
    write_features(log.root / "in", "ad_engagement", [first])
    features = write_features(log.root / "in", "ad_engagement", [revised], revision=1)
    instant = timedelta(microseconds=1)
    moments = {"long before": NOON, "just before": revised_at - instant, "then": revised_at, "after": NOON + HOUR}
    log.build([row for search, at in moments.items() for row in answered(search, at)], features=features)
    seen = {search: log.row(search, "a")["clicks_7d"] for search in moments}
    assert seen == {"long before": 1, "just before": 1, "then": 2, "after": 2}


def test_impressions_that_share_every_key_and_the_time_are_as_many_as_they_were(log: Log) -> None:
    """A user with two tabs: the same ad, user, category and microsecond in several searches and places."""
    rows: list[Row] = []
    for tab in range(4):
        rows += [shown(f"tab{tab}", ad, NOON, place, user_id="u") for place, ad in enumerate(("a", "b", "c"), 1)]
    rows.append(shown("tab0", "a", NOON, 9, user_id="u", event_id="the same ad twice in one list"))
    rows.append(clicked("tab1", "a", NOON + MINUTE, user_id="u"))
    rows += answered("later", NOON + HOUR)
    ads = write_ads(
        log.root / "ads", [(ad, {"seller_id": "s", "category": "x"}, NOON - HOUR) for ad in ("a", "b", "c")]
    )
    known = {
        "ad_engagement": ("a", "clicks_7d", 3.0),
        "seller_stats": ("s", "seller_item_count", 2.0),
        "user_affinity": (str(user_category("u", "x")), "user_category_clicks_28d", 4.0),
    }
    for group, (entity, name, value) in known.items():
        # Several rows of one entity become visible at once: the newest hour counts, once.
        hours = [(entity, NOON - n * HOUR, NOON - MINUTE, {name: value - n}) for n in range(3)]
        write_features(log.root / "in", group, hours)
    manifest = log.build(rows, features=log.root / "in", ads=ads, test_fraction=0.2)
    impressions = [row for row in rows if row["event_type"] == "impression"]
    by_event = {row["event_id"]: row for row in log.rows()}
    assert manifest.rows == manifest.impressions == len(impressions) == len(by_event) == 15
    keys = Counter((row["ad_id"], row["user_id"], row["event_time"]) for row in impressions)
    assert len(keys) == 5, "a join that keeps one row of each key and time would lose ten"
    for row in impressions:
        built = by_event[row["event_id"]]
        assert (built["search_id"], built["position"]) == (row["search_id"], row["position"])
        assert built["click"] == (built["search_id"] in ("tab1", "later") and built["ad_id"] == "a")
        if built["search_id"] != "later":
            assert built["clicks_7d"] == (3 if built["ad_id"] == "a" else 0)
            assert (built["seller_item_count"], built["user_category_clicks_28d"]) == (2, 4)
