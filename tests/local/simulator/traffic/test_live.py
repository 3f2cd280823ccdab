"""Live traffic: every search is sent and answered for, hours land whole and in order, and failures are visible."""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest
from adrank.contracts.timestamps import HOUR
from adrank.kafka.messages import EventMessageError
from adrank.storage.object_store import ObjectStore
from ingestion.landing import event_table
from simulator.history import answers_after
from simulator.marketplace.event_rows import Exposure, RankedSearches
from simulator.marketplace.world import World
from simulator.sinks.event_sink import Changes
from simulator.traffic.back_pressure import ArchiveProgress, BackPressure, BackPressureLimits
from simulator.traffic.clock import EventClock, SearchBudget
from simulator.traffic.live import LiveTraffic, Plan
from simulator.traffic.progress import Progress
from simulator.traffic.ranking import RankCall, Ranked, UnusableRankingError, positions
from tests.local.simulator.small_world import LIVE_START, LandedSink, small_settings

FAST = 1e9
CONTROL = Exposure("model-a", "exp-1", "control")
TREATMENT = Exposure("model-b", "exp-1", "treatment")


def by_affinity(request: dict[str, Any]) -> Ranked:
    """Ranks by what the user likes; users with an even number are treated."""
    best = sorted(request["candidates"], key=lambda c: -c["context"]["affinity"])
    return Ranked([c["ad_id"] for c in best], TREATMENT if int(request["user_id"][-1]) % 2 == 0 else CONTROL)


class Live:
    """A live run against a fake ranker."""

    def __init__(
        self,
        world: World,
        store: ObjectStore,
        state: Path,
        rank: RankCall = by_affinity,
        back_pressure: BackPressure | None = None,
        **plan: Any,
    ) -> None:
        self.stop = threading.Event()
        self.progress = Progress(state, source="test", seed=7, start=LIVE_START)
        self.store = store
        self.state = state
        settings = {"budget": SearchBudget(LIVE_START, 3, 60), "max_hours": 3, "speed": FAST, "seed": 7, **plan}
        sink = LandedSink(store)
        self.traffic = LiveTraffic(
            Plan(start=LIVE_START, **settings), world, rank, sink, self.progress, self.stop, back_pressure
        )

    def run(self, hour: int = 0, pending: pa.Table | None = None) -> dict[str, Any]:
        self.traffic.run(LIVE_START + hour * HOUR, event_table.empty() if pending is None else pending)
        self.progress.write()
        document: dict[str, Any] = json.loads(self.state.read_text())
        return document

    def manifest(self, hour: int) -> RawManifest:
        return RawManifest.model_validate_json(self.store.get(lake.RAW_EVENTS.manifest(LIVE_START + hour * HOUR)))

    def rows(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for key in self.store.keys("raw/events/"):
            if key.endswith(".parquet"):
                found.update(
                    {row["event_id"]: row for row in pq.read_table(io.BytesIO(self.store.get(key))).to_pylist()}
                )
        return list(found.values())


def test_every_search_of_every_hour_is_sent_and_lands_as_it_was_ranked(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    sent: dict[str, dict[str, Any]] = {}

    def remember(request: dict[str, Any]) -> Ranked:
        sent[request["search_id"]] = request
        return by_affinity(request)

    live = Live(small_world, store, tmp_path / "state.json", remember)
    state = live.run()
    assert len(sent) == state["requests"] == 60
    assert (state["failed_requests"], state["hours_told"]) == (0, 3)
    assert state["last_hour_told"] == (LIVE_START + 2 * HOUR).isoformat()
    shown = [row for row in live.rows() if row["event_type"] == "impression"]
    assert len(shown) == 60 * 8
    for row in shown:
        request = sent[row["search_id"]]
        ranked = by_affinity(request)
        assert ranked.ads[row["position"] - 1] == row["ad_id"]
        assert Exposure(row["model_version"], row["experiment_id"], row["variant"]) == ranked.exposure
        context = next(c["context"] for c in request["candidates"] if c["ad_id"] == row["ad_id"])
        assert dict(row["context"]) == context
        assert row["event_time"].isoformat() == request["event_time"]
        assert {"slot", "affinity", "hour_of_day"} == context.keys()


def test_candidates_are_sent_with_seller_and_category_as_the_catalogue_knows_them(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    sent: list[dict[str, Any]] = []

    def remember(request: dict[str, Any]) -> Ranked:
        sent.append(request)
        return by_affinity(request)

    Live(small_world, store, tmp_path / "state.json", remember).run()
    known = {
        envelope["after"]["ad_id"]: (envelope["after"]["seller_id"], envelope["after"]["category"])
        for table, _, envelopes in small_world.catalogue.envelopes(small_world.settings.start, LIVE_START + 3 * HOUR)
        for envelope in envelopes
        if table == "ads" and envelope["after"]
    }
    candidates = [candidate for request in sent for candidate in request["candidates"]]
    assert {(c["seller_id"], c["category"]) for c in candidates} <= set(known.values())
    assert all(known[c["ad_id"]] == (c["seller_id"], c["category"]) for c in candidates)


def test_the_state_counts_by_variant_what_landed(small_world: World, store: ObjectStore, tmp_path: Path) -> None:
    live = Live(small_world, store, tmp_path / "state.json", budget=SearchBudget(LIVE_START, 3, 300))
    state = live.run()
    rows = live.rows()
    for variant in ("control", "treatment"):
        counted = state["by_variant"][variant]
        mine = [row for row in rows if row["variant"] == variant]
        assert counted["requests"] == len({row["search_id"] for row in mine})
        for kind in ("click", "contact", "sale"):
            assert counted[f"{kind}s"] == sum(row["event_type"] == kind for row in mine)
        assert counted["revenue"] == pytest.approx(sum(row["revenue"] or 0 for row in mine))
    assert (
        sum(second["served"].get("model-a", 0) for second in state["log"]) == state["by_variant"]["control"]["requests"]
    )
    assert state["latency_ms"].keys() == {"p50", "p95", "p99", "max"}


def test_the_same_rankings_land_as_the_same_bytes(small_world: World, store: ObjectStore, tmp_path: Path) -> None:
    Live(small_world, store, tmp_path / "one.json").run()
    before = {key: store.get(key) for key in store.keys()}  # noqa: SIM118
    Live(small_world, store, tmp_path / "two.json", concurrency=1).run()
    assert {key: store.get(key) for key in store.keys()} == before  # noqa: SIM118


class Witness:
    """Writes down what it is told, and by which thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]], str]] = []

    def impressions(self, events: pa.Table) -> None:
        self.calls.append(("impressions", events.to_pylist(), threading.current_thread().name))

    def hour(self, end: datetime, changes: Changes, events: pa.Table) -> None:
        self.calls.append(("hour", events.to_pylist(), threading.current_thread().name))


def witnessed(world: World, state: Path, rank: RankCall, witness: Witness, **plan: Any) -> dict[str, Any]:
    """Three hours of 60 searches; returns the state."""
    progress, stop = Progress(state, source="test", seed=7, start=LIVE_START), threading.Event()
    settings = {"budget": SearchBudget(LIVE_START, 3, 60), "max_hours": 3, "speed": FAST, "seed": 7, **plan}
    LiveTraffic(Plan(start=LIVE_START, **settings), world, rank, witness, progress, stop).run(
        LIVE_START, event_table.empty()
    )
    progress.write()
    document: dict[str, Any] = json.loads(state.read_text())
    return document


def test_impressions_are_told_at_once_by_whoever_got_the_ranking(small_world: World, tmp_path: Path) -> None:
    witness, ranked = Witness(), list[str]()

    def looks_back(request: dict[str, Any]) -> Ranked:
        logged = [rows[0]["search_id"] for what, rows, _ in witness.calls if what == "impressions"]
        assert logged == ranked, "all searches before this one are told"
        ranked.append(request["search_id"])
        return by_affinity(request)

    state = witnessed(small_world, tmp_path / "state.json", looks_back, witness, concurrency=1)
    assert (state["requests"], state["failed_requests"]) == (60, 0)
    assert all(thread.startswith("search") for what, _, thread in witness.calls if what == "impressions")
    assert [what for what, _, _ in witness.calls].count("impressions") == 60


def test_an_hour_tells_answers_and_repeats_impressions_only(small_world: World, tmp_path: Path) -> None:
    witness = Witness()
    state = witnessed(small_world, tmp_path / "state.json", by_affinity, witness, duplicate_share=0.2)
    first: dict[str, dict[str, Any]] = {}
    repeated = 0
    for what, rows, _ in witness.calls:
        for row in rows:
            if what == "impressions":
                assert row["event_id"] not in first
                first[row["event_id"]] = row
            elif row["event_type"] == "impression":
                repeated += 1
                assert row["ingest_time"] > first[row["event_id"]]["ingest_time"]
                assert {**row, "ingest_time": None} == {**first[row["event_id"]], "ingest_time": None}
    assert len(first) == 60 * 8
    assert 0.1 * len(first) < repeated < 0.3 * len(first)
    assert state["rows_told"] == sum(len(rows) for _, rows, _ in witness.calls)


def test_a_search_by_itself_has_the_rows_that_it_has_in_its_hour(small_world: World) -> None:
    searches = small_world.searches(LIVE_START, range(20))
    places = small_world.slot_positions(searches)
    exposures, rng = [CONTROL, TREATMENT] * 10, np.random.default_rng(0)
    whole = RankedSearches(searches, small_world.ad_ids, places, exposures).impressions(rng)
    alone = [
        RankedSearches(searches.only(index), small_world.ad_ids, places[begin:end], [exposures[index]]).impressions(rng)
        for index, (begin, end) in enumerate(itertools.pairwise(searches.first.tolist()))
    ]
    assert whole.num_rows == 20 * 8
    assert pa.concat_tables(alone).drop_columns(["ingest_time"]).equals(whole.drop_columns(["ingest_time"]))


def test_impressions_that_cannot_be_told_end_the_run_and_are_no_failed_request(
    small_world: World, tmp_path: Path
) -> None:
    class Refusing(Witness):
        def impressions(self, events: pa.Table) -> None:
            raise EventMessageError("no place for it")

    with pytest.raises(EventMessageError, match="no place for it"):
        witnessed(small_world, tmp_path / "state.json", by_affinity, Refusing())


def test_hours_land_strictly_in_order_manifest_last(small_world: World, store: ObjectStore, tmp_path: Path) -> None:
    puts: list[str] = []

    class Recording(ObjectStore):
        def put(self, key: str, body: bytes) -> None:
            puts.append(key)
            store.put(key, body)

    Live(small_world, Recording("b", None), tmp_path / "state.json").run()
    hours = [key.split("/hr=")[1][:2] for key in puts]
    assert hours == sorted(hours)
    for hour in ("00", "01", "02"):
        assert [key for key in puts if f"/hr={hour}/" in key][-1].endswith(lake.MANIFEST)


def test_a_failed_request_is_counted_and_its_search_shows_nothing(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    failed: set[str] = set()

    def unreliable(request: dict[str, Any]) -> Ranked:
        if request["search_id"].endswith("3"):
            failed.add(request["search_id"])
            raise ConnectionError("refused")
        return by_affinity(request)

    live = Live(small_world, store, tmp_path / "state.json", unreliable)
    state = live.run()
    assert state["requests"] == 60
    assert state["failed_requests"] == len(failed) > 0
    assert state["failures"] == {"ConnectionError: refused": len(failed)}
    assert sum(second["failed"] for second in state["log"]) == len(failed)
    seen = {row["search_id"] for row in live.rows()}
    assert len(seen) == 60 - len(failed)
    assert not seen & failed


def test_an_hour_whose_requests_all_fail_still_lands(small_world: World, store: ObjectStore, tmp_path: Path) -> None:
    def down(request: dict[str, Any]) -> Ranked:
        raise TimeoutError

    live = Live(small_world, store, tmp_path / "state.json", down)
    assert live.run()["failed_requests"] == 60
    assert [live.manifest(hour).rows for hour in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("ads", [["a"], ["a", "b", "b"], ["a", "a"], ["a", "c"], []])
def test_an_answer_that_is_not_a_ranking_of_the_candidates_is_refused(ads: list[str]) -> None:
    sent = {"candidates": [{"ad_id": "a"}, {"ad_id": "b"}]}
    assert positions(sent, Ranked(["b", "a"], CONTROL)).tolist() == [2, 1]
    with pytest.raises(UnusableRankingError):
        positions(sent, Ranked(ads, CONTROL))


def test_a_ranking_that_users_like_earns_more_clicks(small_world: World, store: ObjectStore, tmp_path: Path) -> None:
    def worst_first(request: dict[str, Any]) -> Ranked:
        ranked = by_affinity(request)
        return Ranked(ranked.ads[::-1], ranked.exposure)

    clicks = []
    for name, rank in (("best", by_affinity), ("worst", worst_first)):
        live = Live(small_world, store, tmp_path / name, rank, budget=SearchBudget(LIVE_START, 3, 900))
        state = live.run()
        clicks.append(sum(variant["clicks"] for variant in state["by_variant"].values()))
    assert clicks[0] > 1.1 * clicks[1]


def test_stopping_lands_the_current_hour_as_closed_and_sends_no_more(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    def stop_at_tenth(request: dict[str, Any]) -> Ranked:
        if request["search_id"].endswith("-00009"):
            live.stop.set()
        return by_affinity(request)

    live = Live(small_world, store, tmp_path / "state.json", stop_at_tenth)
    state = live.run()
    assert state["hours_told"] == 1
    assert 10 <= state["requests"] <= 14
    assert live.manifest(0).watermark == LIVE_START + HOUR
    assert len({row["search_id"] for row in live.rows()}) == state["requests"]


def test_a_slow_ranker_slows_the_event_clock_and_drops_nothing(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    def slow(request: dict[str, Any]) -> Ranked:
        time.sleep(0.02)
        return by_affinity(request)

    live = Live(small_world, store, tmp_path / "state.json", slow)
    began = time.monotonic()
    state = live.run()
    assert time.monotonic() - began >= 60 * 0.02 / 4
    assert (state["requests"], state["failed_requests"]) == (60, 0)


def test_an_archiver_that_falls_behind_holds_the_event_clock_and_drops_nothing(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    """The archiver closes an hour only when somebody waits for it."""
    closed = [LIVE_START]
    waits: list[dict[str, Any]] = []

    def read() -> ArchiveProgress:
        return ArchiveProgress(0, int(closed[0].timestamp() * 1e6))

    def wait(_: float) -> bool:
        live.progress.write()
        waits.append(json.loads(live.state.read_text()))
        closed[0] += HOUR
        return False

    seconds = itertools.count()  # every look at the wall clock takes a second
    pressure = BackPressure(BackPressureLimits(10**6, 1), read, wait, lambda: float(next(seconds)))
    live = Live(small_world, store, tmp_path / "state.json", back_pressure=pressure)
    state = live.run()
    assert (state["requests"], state["failed_requests"], state["hours_told"]) == (60, 0, 3)
    assert [wait["hours_told"] for wait in waits] == [2], "two hours are told when one of them has to be closed"
    assert "2.0 event hours are told and not closed" in waits[0]["clock"]["held"]
    assert state["clock"]["held"] == ""
    assert state["clock"]["held_seconds"] > 0
    assert 0 < state["clock"]["effective_speed"] < state["clock"]["speed"] == FAST


def test_stopping_while_the_clock_is_held_tells_the_hour_that_it_was_in(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    def stop(_: float) -> bool:
        live.stop.set()
        return True

    pressure = BackPressure(BackPressureLimits(1, 1), lambda: ArchiveProgress(2, None), stop)
    live = Live(small_world, store, tmp_path / "state.json", back_pressure=pressure)
    state = live.run()
    assert (state["requests"], state["hours_told"]) == (0, 1)


def test_answers_on_their_way_when_history_ends_land_in_the_first_live_hour(store: ObjectStore, tmp_path: Path) -> None:
    busy = World(small_settings().model_copy(update={"searches_per_hour": 300}))
    pending = answers_after(busy, LIVE_START)
    assert pending.num_rows > 0
    live = Live(busy, store, tmp_path / "state.json", max_hours=1)
    live.run(pending=pending)
    assert set(pending["event_id"].to_pylist()) <= {row["event_id"] for row in live.rows()}


def test_a_resumed_run_goes_on_after_the_last_landed_hour(
    small_world: World, store: ObjectStore, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    Live(small_world, store, state, max_hours=1).run()
    live = Live(small_world, store, state)
    assert live.progress.resume() == LIVE_START
    document = live.run(hour=1)
    assert (document["requests"], document["hours_told"]) == (60, 3)


def test_a_state_of_another_traffic_is_not_resumed(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    Progress(state, source="test", seed=7, start=LIVE_START).write()
    with pytest.raises(ValueError, match="was written with seed 7, not 8"):
        Progress(state, source="test", seed=8, start=LIVE_START).resume()


def test_the_state_file_is_always_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    progress = Progress(path, source="test", seed=7, start=LIVE_START)
    progress.state("running")
    done = threading.Event()

    def rewrite() -> None:
        while not done.is_set():
            progress.record_served(CONTROL, 0.01)
            progress.write()

    writer = threading.Thread(target=rewrite)
    writer.start()
    for _ in range(300):
        assert json.loads(path.read_text())["state"] == "running"
    done.set()
    writer.join()


def test_the_budget_is_exact_over_its_hours_and_goes_on_alike() -> None:
    budget = SearchBudget(LIVE_START, 24, 6000)
    day = [budget.serials(hour) for hour in range(24)]
    assert [serial for serials in day for serial in serials] == list(range(6000))
    assert len(day[16]) > 2 * len(day[4])
    assert [len(budget.serials(24 + hour)) for hour in range(24)] == [len(serials) for serials in day]
    assert budget.serials(24).start == 6000


@pytest.mark.parametrize(("hours", "total"), [(0, 5), (5, 0)])
def test_a_budget_of_nothing_is_refused(hours: int, total: int) -> None:
    with pytest.raises(ValueError, match="at least one hour and one search"):
        SearchBudget(LIVE_START, hours, total)


def test_the_clock_runs_at_its_speed_and_never_ahead() -> None:
    clock = EventClock(0, 100.0, threading.Event())
    clock.wait_until(0)
    began = time.monotonic()
    assert clock.wait_until(10_000_000)
    assert 0.1 <= time.monotonic() - began < 1
    assert clock.now == 10_000_000


def test_a_clock_that_fell_behind_does_not_rush() -> None:
    clock = EventClock(0, 1000.0, threading.Event())
    clock.wait_until(0)
    time.sleep(0.4)
    clock.wait_until(1_000)
    began = time.monotonic()
    clock.wait_until(100_000_000)
    assert time.monotonic() - began >= 0.09


def test_a_stopped_clock_says_so() -> None:
    stop = threading.Event()
    stop.set()
    assert not EventClock(0, 1.0, stop).wait_until(10**12)


def test_a_day_of_6000_searches_has_about_3000_users() -> None:
    from simulator.marketplace.settings import documented_world

    world = World(documented_world(7, LIVE_START))
    budget = SearchBudget(LIVE_START, 24, 6000)
    users: set[str] = set()
    for hour in range(24):
        users.update(world.searches(LIVE_START + timedelta(hours=hour), budget.serials(hour)).user_ids)
    assert 2700 < len(users) < 3300
    assert np.isclose(sum(len(budget.serials(hour)) for hour in range(24)), 6000)
