"""Replayed logs: the log's own searches on the live clock, answered at rates that were estimated on the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ingestion.own_logs import importer
from ingestion.own_logs.importer import ImportedLogs
from simulator.marketplace.replay import Replay
from simulator.marketplace.searches import Ints, Searches
from simulator.traffic.ranking import request
from tests.include.ingestion.logs import Row, write
from tests.local.simulator.small_world import LIVE_START

DAY = datetime(2025, 6, 1, tzinfo=UTC)
EXAMINATION = [1.0, 0.5, 0.25]
ATTRACTION = {"good": 0.6, "fair": 0.3, "poor": 0.1}


def log(searches: int = 3000, seed: int = 1) -> list[Row]:
    """Two days of searches over three ads in random order, answered by a known model; half of the clicks are sales."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(searches):
        moment = DAY + timedelta(days=2) * number / searches
        for position, ad in enumerate(rng.permutation(list(ATTRACTION)), 1):
            row = {"event_time": moment, "user_id": f"u{number % 50}", "search_id": f"s{number}"}
            row |= {"ad_id": str(ad), "position": position, "distance": float(position), "revenue": None}
            rows.append({**row, "event_id": f"i{number}-{position}", "event_type": "impression"})
            if rng.random() < EXAMINATION[position - 1] * ATTRACTION[str(ad)]:
                later = moment + timedelta(seconds=30)
                rows.append({**row, "event_id": f"c{number}-{position}", "event_type": "click", "event_time": later})
                if rng.random() < 0.5:
                    sale = {"event_type": "sale", "event_time": later, "revenue": 12.5}
                    rows.append({**row, **sale, "event_id": f"x{number}-{position}"})
    return rows


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> ImportedLogs:
    directory = tmp_path_factory.mktemp("log")
    write(directory, "events", log(), "parquet")
    ads = [("good", "seller-1", "shoes"), ("fair", "seller-2", None)]
    columns = ("ad_id", "seller_id", "category")
    write(directory, "ads", [dict(zip(columns, ad, strict=True)) for ad in ads])
    return importer.read(directory)


@pytest.fixture(scope="module")
def replay(logs: ImportedLogs) -> Replay:
    return Replay(logs, seed=3)


def logged(searches: Searches) -> Ints:
    """The positions of the log: candidates are in their order."""
    return np.arange(len(searches.ads)) - searches.first[searches.search_of] + 1


def test_rates_are_those_that_made_the_log(replay: Replay) -> None:
    assert replay.rates.examination == pytest.approx(EXAMINATION, abs=0.06)
    attraction = dict(zip(replay.ad_ids.tolist(), replay.rates.attraction.tolist(), strict=True))
    assert attraction == pytest.approx(ATTRACTION, abs=0.05)
    assert (replay.rates.click.share, replay.rates.contact.share) == (1.0, 0.0)
    assert replay.rates.sale.share == pytest.approx(0.5, abs=0.05)


def test_the_logs_last_day_is_replayed_in_its_order_over_and_over(replay: Replay) -> None:
    assert len(replay) == 1500
    first = replay.searches(LIVE_START, range(3))
    assert first.user_ids == ("u0", "u1", "u2")
    again = replay.searches(LIVE_START + timedelta(hours=1), range(1500, 1503))
    assert again.user_ids == first.user_ids
    assert not set(again.search_ids) & set(first.search_ids)
    assert not set(again.session_ids) & set(first.session_ids)
    assert (again.ads == first.ads).all()


def test_times_are_on_the_live_clock(replay: Replay) -> None:
    times = replay.searches(LIVE_START, range(50)).times
    start = int(LIVE_START.timestamp()) * 1_000_000
    assert ((times >= start) & (times < start + 3_600_000_000)).all()
    assert (np.diff(times) >= 0).all()


def test_candidates_keep_context_logged_slot_and_what_the_catalogue_says(replay: Replay) -> None:
    searches = replay.searches(LIVE_START, range(5))
    sent = request(searches, 2, replay)
    assert [c["context"] for c in sent["candidates"]] == [{"distance": p, "slot": p} for p in (1.0, 2.0, 3.0)]
    sellers = {c["ad_id"]: c.get("seller_id") for c in sent["candidates"]}
    assert sellers == {"good": "seller-1", "fair": "seller-2", "poor": None}
    categories = {c["ad_id"]: c.get("category") for c in sent["candidates"]}
    assert categories == {"good": "shoes", "fair": None, "poor": None}


def test_a_better_order_earns_more_by_the_estimated_model(replay: Replay) -> None:
    searches = replay.searches(LIVE_START, range(1500))
    attraction = replay.rates.attraction[searches.ads]
    best = np.empty(len(attraction), dtype=np.int64)
    order = np.lexsort((-attraction, searches.search_of))
    best[order] = logged(searches)
    clicks = [replay.react(LIVE_START, searches, p).click.happened.sum() for p in (best, logged(searches))]
    assert clicks[0] > 1.2 * clicks[1]


def test_reactions_follow_the_logs_delays_and_revenues(replay: Replay) -> None:
    searches = replay.searches(LIVE_START, range(500))
    reactions = replay.react(LIVE_START, searches, logged(searches))
    assert not reactions.contact.happened.any()
    assert set(reactions.click.delay[reactions.click.happened]) == {30_000_000}
    assert set(reactions.sale.revenue[reactions.sale.happened]) == {12.5}
    assert (reactions.click.happened | ~reactions.sale.happened).all()


def test_what_nobody_was_shown_is_not_answered(replay: Replay) -> None:
    searches = replay.searches(LIVE_START, range(500))
    nowhere = np.zeros(len(searches.ads), dtype=np.int64)
    assert not replay.react(LIVE_START, searches, nowhere).click.happened.any()


def test_the_same_hour_is_answered_the_same(logs: ImportedLogs, replay: Replay) -> None:
    searches = replay.searches(LIVE_START, range(100))
    one, two = (r.react(LIVE_START, searches, logged(searches)) for r in (replay, Replay(logs, seed=3)))
    assert (one.click.happened == two.click.happened).all()
    other = Replay(logs, seed=4).react(LIVE_START, searches, logged(searches))
    assert (one.click.happened != other.click.happened).any()


def test_a_log_without_answers_is_replayed_without_answers(tmp_path: Path) -> None:
    write(tmp_path, "events", [row for row in log(30) if row["event_type"] == "impression"], "parquet")
    replay = Replay(importer.read(tmp_path), seed=1)
    searches = replay.searches(LIVE_START, range(90))
    assert len(replay) == 30
    assert not replay.react(LIVE_START, searches, logged(searches)).click.happened.any()


def test_lists_of_different_lengths_and_repeated_ads_are_replayed_once_each(tmp_path: Path) -> None:
    rows = [row for row in log(3) if row["event_type"] == "impression"][:-2]
    twice = {**rows[0], "event_id": "again", "position": 9}
    write(tmp_path, "events", [*rows, twice], "parquet")
    searches = Replay(importer.read(tmp_path), seed=1).searches(LIVE_START, range(6))
    assert np.diff(searches.first).tolist() == [3, 3, 1, 3, 3, 1]
    assert len(set(searches.ads[:3].tolist())) == 3
