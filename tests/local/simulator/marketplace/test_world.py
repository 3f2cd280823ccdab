"""Searches, change data and history of the simulated marketplace."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CdcManifest, RawManifest
from adrank.contracts.timestamps import DAY, HOUR
from adrank.storage.object_store import ObjectStore
from ingestion.landing import changes
from ingestion.landing.event_table import EVENT_SCHEMA, parquet_bytes
from simulator.history import answers_after, history, land_history
from simulator.marketplace.catalogue import Catalogue
from simulator.marketplace.settings import WorldSettings, documented_world
from simulator.marketplace.world import World, daily_curve
from tests.local.simulator.small_world import LIVE_START, small_settings


def digest(world: World) -> str:
    total = hashlib.sha256()
    for _, table in history(world, world.settings.start, world.settings.start + timedelta(hours=6)):
        total.update(parquet_bytes(table))
    for _, _, envelopes in world.catalogue.envelopes(world.settings.start, LIVE_START):
        total.update(repr(envelopes).encode())
    return total.hexdigest()


def whole_history(world: World) -> pa.Table:
    return pa.concat_tables([table for _, table in history(world, world.settings.start, LIVE_START)])


def test_the_same_seed_is_the_same_world_to_the_byte(small_world: World) -> None:
    assert digest(World(small_settings())) == digest(small_world)


def test_another_seed_is_another_world(small_world: World) -> None:
    assert digest(World(small_settings(seed=9))) != digest(small_world)


def test_an_hour_does_not_depend_on_where_the_history_begins(small_world: World) -> None:
    start = small_world.settings.start
    from_start = dict(history(small_world, start, start + timedelta(hours=5)))
    (hour, alone), *_ = history(small_world, start + timedelta(hours=4), start + timedelta(hours=5))
    assert alone.equals(from_start[hour])


def test_live_start_is_a_whole_hour() -> None:
    with pytest.raises(ValidationError, match="whole hour"):
        WorldSettings(live_start=LIVE_START + timedelta(minutes=1))


def test_only_seed_8_loses_its_preferences() -> None:
    assert [documented_world(seed, LIVE_START).live_preference for seed in (7, 8, 9)] == [1.0, 0.0, 1.0]


def test_a_search_offers_distinct_live_ads_and_what_is_known_of_them_then(small_world: World) -> None:
    searches = small_world.searches(LIVE_START, range(40))
    stock = small_world.catalogue.at_hour(48)
    for index in range(len(searches)):
        ads = searches.ads[searches.first[index] : searches.first[index + 1]]
        assert len(set(ads.tolist())) == len(ads) == 8
        assert stock.live[ads].all()
    assert searches.context_names == ("slot", "affinity", "hour_of_day")
    assert ((searches.context[:, 1] >= 0) & (searches.context[:, 1] <= 1)).all()
    assert (np.diff(searches.times) >= 0).all()


def test_slots_are_redrawn_daily_and_hold_all_day(small_world: World) -> None:
    def slots(hours: int) -> dict[int, float]:
        searches = small_world.searches(small_world.settings.start + timedelta(hours=hours), range(60))
        return dict(zip(searches.ads.tolist(), searches.context[:, 0].tolist(), strict=True))

    morning, evening, tomorrow = slots(1), slots(20), slots(25)
    both = morning.keys() & evening.keys() & tomorrow.keys()
    assert len(both) > 50
    assert [morning[ad] for ad in both] == [evening[ad] for ad in both]
    assert [morning[ad] for ad in both] != [tomorrow[ad] for ad in both]


def test_slots_say_nothing_about_relevance() -> None:
    world = World(documented_world(7, LIVE_START))
    hours = [LIVE_START - timedelta(hours=24 * day + 9) for day in range(8)]
    pairs = [
        (searches.context[:, 0], world.chances(hour, searches).click)
        for hour in hours
        for searches in [world.searches(hour)]
    ]
    slots, clicks = (np.concatenate(side) for side in zip(*pairs, strict=True))
    assert abs(np.corrcoef(slots, clicks)[0, 1]) < 0.05


def test_history_is_ranked_by_slot(small_world: World) -> None:
    shown = whole_history(small_world).filter(pc.field("event_type") == "impression").to_pylist()
    by_search: dict[str, dict[int, float]] = {}
    for row in shown:
        by_search.setdefault(row["search_id"], {})[row["position"]] = dict(row["context"])["slot"]
    for slots in by_search.values():
        assert sorted(slots) == list(range(1, 9))
        in_order = [slots[position] for position in sorted(slots)]
        assert in_order == sorted(in_order)


def test_days_are_quiet_at_night_and_busy_in_the_afternoon() -> None:
    curve = daily_curve(np.arange(24))
    assert curve.mean() == pytest.approx(1)
    assert (int(curve.argmin()), int(curve.argmax())) == (4, 16)


def test_history_has_every_hour_and_each_event_in_its_own(small_world: World) -> None:
    hours = list(history(small_world, small_world.settings.start, LIVE_START))
    assert [hour for hour, _ in hours] == list(timestamps.hours(small_world.settings.start, LIVE_START))
    for hour, table in hours:
        assert table.schema.equals(EVENT_SCHEMA)
        span = pc.min_max(table["event_time"]).as_py()
        assert hour <= span["min"] <= span["max"] < hour + HOUR


def test_answers_that_come_after_the_hour_are_not_lost(small_world: World) -> None:
    events = pa.concat_tables([whole_history(small_world), answers_after(small_world, LIVE_START)])
    ids = set(events["event_id"].to_pylist())
    drawn = 0
    for hour in timestamps.hours(small_world.settings.start, LIVE_START):
        searches = small_world.searches(hour)
        reactions = small_world.react(hour, searches, small_world.slot_positions(searches))
        drawn += len(searches.ads)
        drawn += sum(int(o.happened.sum()) for o in (reactions.click, reactions.contact, reactions.sale))
    assert len(ids) == drawn
    assert answers_after(small_world, small_world.settings.start).num_rows == 0


def test_every_answer_has_its_impression_and_only_sales_have_revenue(small_world: World) -> None:
    rows = whole_history(small_world).to_pylist()
    shown = {(r["search_id"], r["ad_id"]): r["event_time"] for r in rows if r["event_type"] == "impression"}
    answers = [r for r in rows if r["event_type"] != "impression"]
    assert answers
    for row in answers:
        waited = row["event_time"] - shown[row["search_id"], row["ad_id"]]
        assert timedelta(0) < waited < timedelta(hours=1)
        assert (row["revenue"] is not None) == (row["event_type"] == "sale")


def test_about_one_delivery_in_two_hundred_comes_twice(small_world: World) -> None:
    table = whole_history(small_world)
    repeated = table.num_rows - pc.count_distinct(table["event_id"]).as_py()
    assert 0.002 < repeated / table.num_rows < 0.01
    assert pc.all(pc.greater_equal(table["ingest_time"], table["event_time"])).as_py()


def test_change_data_tells_the_whole_catalogue(small_world: World) -> None:
    catalogue = small_world.catalogue
    ads: dict[str, dict[str, Any]] = {}
    operations: set[str] = set()
    sellers: set[str] = set()
    for table, hour, envelopes in catalogue.envelopes(small_world.settings.start, LIVE_START):
        for envelope in envelopes:
            moment = envelope["ts_ms"] / 1000
            assert hour.timestamp() <= moment < (hour + HOUR).timestamp()
            after, before = envelope["after"], envelope["before"]
            if table == "sellers":
                sellers.add(after["seller_id"])
                continue
            operations.add(envelope["op"])
            assert ads.get((after or before)["ad_id"]) == before
            if after:
                ads[after["ad_id"]] = after
            else:
                del ads[before["ad_id"]]
    stock = catalogue.at_hour(small_world.settings.history_hours)
    truth = {str(catalogue.ad_ids[i]): stock.price[i] for i in np.flatnonzero(stock.live)}
    assert {ad: row["price"] for ad, row in ads.items()} == truth
    assert {"r", "c", "u"} <= operations
    assert {row["seller_id"] for row in ads.values()} <= sellers
    assert any(row["image_quality_score"] is None for row in ads.values())
    assert all(row["created_at"] < LIVE_START.timestamp() * 1e6 for row in ads.values())


def test_titles_differ_in_length_and_some_ads_have_none() -> None:
    titles = Catalogue(documented_world(7, LIVE_START)).titles
    lengths = {len(title) for title in titles if title}
    assert min(lengths) < 10 < 60 < max(lengths)
    assert 0 < titles.count(None) < len(titles) / 20


def test_titles_leave_every_other_draw_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    titled = list(Catalogue(small_settings()).envelopes(LIVE_START - DAY, LIVE_START))
    monkeypatch.setattr("simulator.marketplace.catalogue._titles", lambda rng, count: [None] * count)
    untitled = list(Catalogue(small_settings()).envelopes(LIVE_START - DAY, LIVE_START))
    assert titled != untitled
    for _, _, envelopes in (*titled, *untitled):
        for image in (envelope[side] for envelope in envelopes for side in ("before", "after")):
            (image or {}).pop("title", None)
    assert titled == untitled


def test_a_withdrawn_ad_is_told_and_no_longer_offered() -> None:
    world = World(documented_world(7, LIVE_START))
    gone = [
        (hour, envelope["before"]["ad_id"])
        for _, hour, envelopes in world.catalogue.envelopes(world.settings.start, LIVE_START)
        for envelope in envelopes
        if envelope["op"] == "d"
    ]
    assert gone
    hour, ad = gone[0]
    index = world.ad_ids.tolist().index(ad)
    assert not world.catalogue.at_hour((hour - world.settings.start) // HOUR + 1).live[index]


def test_history_lands_with_a_manifest_for_every_hour(small_world: World, store: ObjectStore) -> None:
    start = small_world.settings.start
    end = start + timedelta(hours=5)
    rows = land_history(small_world, store, start, end)
    manifests = [
        RawManifest.model_validate_json(store.get(lake.RAW_EVENTS.manifest(h))) for h in timestamps.hours(start, end)
    ]
    read = [
        pq.read_table(io.BytesIO(store.get(lake.RAW_EVENTS.hour(m.hour) + file.name)))
        for m in manifests
        for file in m.files
    ]
    assert rows == sum(m.rows for m in manifests) == sum(table.num_rows for table in read)
    for table in changes.TABLES:
        closed = [
            CdcManifest.model_validate_json(store.get(lake.RAW_CDC(table).manifest(h)))
            for h in timestamps.hours(start, end)
        ]
        assert closed[0].changes > 0, "the snapshot of what was there before"
        assert all(m.watermark == m.hour + HOUR for m in closed)
