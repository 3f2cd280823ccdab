"""The training set: rows in = rows out, nothing from the future, labels that waited, a split by time."""

from __future__ import annotations

import json
import math
from datetime import UTC, timedelta
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest

from adrank.contracts import registry
from adrank.contracts.registry import Entity, user_category
from adrank.contracts.settings import Labels
from adrank.runtime import sagemaker_job
from tests.include.training.logs import (
    HOUR,
    MINUTE,
    NOON,
    Log,
    answered,
    clicked,
    event,
    shown,
    write_ads,
    write_events,
    write_features,
    write_partition,
)
from tests.support.registries import known_late
from training import build_training_set
from training.dataset import offline_features
from training.dataset.impressions import ThinLogError
from training.dataset.offline_features import FeatureFilesError

BACKGROUND = [*answered("q1", NOON), *answered("q2", NOON + HOUR)]


def engagement(directory: Path, *rows: tuple[str, int, float]) -> Path:
    """(ad, hours from noon to the end of the row's hour, impressions_7d); visible ten minutes after that."""
    return write_features(
        directory,
        "ad_engagement",
        [
            (ad, NOON + hours * HOUR, NOON + hours * HOUR + 10 * MINUTE, {"impressions_7d": value, "ctr_7d": None})
            for ad, hours, value in rows
        ],
    )


class TestPointInTime:
    def test_a_row_available_at_the_impression_is_seen_and_a_microsecond_later_is_not(self, log: Log) -> None:
        for group, name, available_at in (
            ("ad_engagement", "impressions_7d", NOON),
            ("ad_attributes", "title_length", NOON + timedelta(microseconds=1)),
        ):
            write_features(log.root / "in", group, [("a", NOON - HOUR, available_at, {name: 7})])
        log.build(BACKGROUND, features=log.root / "in")
        assert log.row("q1", "a")["impressions_7d"] == 7
        assert math.isnan(log.row("q1", "a")["title_length"]), "the row of the future leaked"
        assert log.row("q2", "a")["title_length"] == 7

    def test_the_newest_visible_row_wins(self, log: Log) -> None:
        log.build(BACKGROUND, features=engagement(log.root / "in", ("a", -2, 1), ("a", -1, 2), ("a", 0, 3)))
        assert [log.row(q, "a")["impressions_7d"] for q in ("q1", "q2")] == [2, 3]

    def test_a_late_revision_of_an_old_hour_does_not_hide_a_newer_hour(self, log: Log) -> None:
        features = log.root / "in"
        for end, available_at, revision, value in (
            (NOON - 5 * HOUR, NOON - 290 * MINUTE, 0, 2),
            (NOON - HOUR, NOON - 50 * MINUTE, 0, 5),
            (NOON - 5 * HOUR, NOON - 20 * MINUTE, 1, 1),
            (NOON - HOUR, NOON + 30 * MINUTE, 1, 6),
        ):
            write_features(features, "ad_engagement", [("a", end, available_at, {"impressions_7d": value})], revision)
        log.build(BACKGROUND, features=features)
        assert log.row("q1", "a")["impressions_7d"] == 5
        assert log.row("q2", "a")["impressions_7d"] == 6, "a later revision of the same hour replaces it"

    def test_no_row_gives_the_registry_default_and_a_null_in_a_row_gives_nan(self, log: Log) -> None:
        log.build(BACKGROUND, features=engagement(log.root / "in", ("a", -1, 4)))
        absent, null = log.row("q1", "b"), log.row("q1", "a")
        assert absent["impressions_7d"] == 0
        assert math.isnan(absent["ctr_7d"])
        assert math.isnan(null["ctr_7d"])
        assert math.isnan(null["clicks_7d"]), "null in a row is missing, whatever the default for no row"

    def test_a_row_older_than_the_ttl_has_expired_as_it_has_online(self, log: Log) -> None:
        ttl = registry.load().group("ad_engagement").ttl_hours * HOUR
        row = ("a", NOON - ttl, NOON - HOUR, {"impressions_7d": 4})
        rows = [*answered("q1", NOON), *answered("q2", NOON + timedelta(microseconds=1))]
        log.build(rows, features=write_features(log.root / "in", "ad_engagement", [row]))
        assert [log.row(q, "a")["impressions_7d"] for q in ("q1", "q2")] == [4, 0]

    def test_seller_features_are_those_of_the_seller_at_the_impression(self, log: Log) -> None:
        names = ("old", "new")
        features = write_features(
            log.root / "in",
            "seller_stats",
            [(s, NOON - HOUR, NOON - HOUR, {"seller_item_count": n}) for n, s in enumerate(names, 1)],
        )
        ads = write_ads(
            log.root / "ads",
            [
                ("a", {"seller_id": "old"}, NOON - HOUR),
                ("a", {"seller_id": "new"}, NOON + 30 * MINUTE),
                ("a", None, NOON + 40 * MINUTE),
            ],
        )
        log.build(BACKGROUND, features=features, ads=ads)
        assert [log.row(q, "a")["seller_id"] for q in ("q1", "q2")] == ["old", "new"]
        assert [log.row(q, "a")["seller_item_count"] for q in ("q1", "q2")] == [1, 2]
        assert log.row("q1", "b")["seller_id"] is None
        assert log.row("q1", "b")["seller_item_count"] == 0

    def test_an_ad_has_its_first_seller_before_the_catalogue_was_snapshotted(self, log: Log) -> None:
        log.build(BACKGROUND, ads=write_ads(log.root / "ads", [("a", {"seller_id": "s"}, NOON + 20 * HOUR)]))
        assert log.row("q1", "a")["seller_id"] == "s"

    def test_affinity_is_that_of_the_user_for_the_category_at_the_impression(self, log: Log) -> None:
        pairs = (("user-of-q1", "old"), ("user-of-q2", "new"), ("user-of-q2", "old"))
        features = write_features(
            log.root / "in",
            "user_affinity",
            [
                (str(user_category(*pair)), NOON - HOUR, NOON - HOUR, {"user_category_clicks_28d": n})
                for n, pair in enumerate(pairs, 1)
            ],
        )
        changes = [("a", {"category": "old"}, NOON + 30 * MINUTE), ("a", {"category": "new"}, NOON + 40 * MINUTE)]
        log.build(BACKGROUND, features=features, ads=write_ads(log.root / "ads", changes))
        assert [log.row(q, "a")["user_category_clicks_28d"] for q in ("q1", "q2")] == [1, 2]
        assert log.row("q1", "b")["user_category_clicks_28d"] == 0, "nobody knows the category"

    def test_what_a_change_does_not_say_stays_as_it_was(self, log: Log) -> None:
        changes = [
            ("a", {"category": "first"}, NOON - 2 * HOUR),
            ("a", {"seller_id": "s"}, NOON - HOUR),
            ("a", {"category": "second", "seller_id": "s"}, NOON + 30 * MINUTE),
        ]
        features = write_features(
            log.root / "in",
            "user_affinity",
            [
                (f"user-of-q{n}|{name}", NOON - HOUR, NOON - HOUR, {"user_category_clicks_28d": n})
                for n, name in ((1, "first"), (2, "second"))
            ],
        )
        log.build(BACKGROUND, features=features, ads=write_ads(log.root / "ads", changes))
        assert [log.row(q, "a")["user_category_clicks_28d"] for q in ("q1", "q2")] == [1, 2]
        assert log.row("q1", "a")["seller_id"] == "s"

    @pytest.mark.parametrize("user", ["u", "u|1", "100%", "%7C|%25", "a%|b"])
    def test_a_user_and_category_are_spelled_as_the_online_store_spells_them(self, log: Log, user: str) -> None:
        entity, category = user_category(user, "c|%"), "c|%"
        assert entity is not None
        row = (entity, NOON - HOUR, NOON - HOUR, {"user_category_clicks_28d": 5})
        ads = write_ads(log.root / "ads", [("a", {"category": category}, NOON)])
        rows = [row | {"user_id": user} for row in BACKGROUND]
        log.build(rows, features=write_features(log.root / "in", "user_affinity", [row]), ads=ads)
        assert log.row("q1", "a")["user_category_clicks_28d"] == 5

    def test_every_entity_of_the_registry_has_a_key_to_join_by(self) -> None:
        assert set(offline_features._ENTITY_KEYS) == set(get_args(Entity))


class TestRows:
    def test_a_redelivered_event_is_one_row(self, log: Log) -> None:
        again = [row | {"ingest_time": row["ingest_time"] + HOUR} for row in BACKGROUND]
        manifest = log.build([*BACKGROUND, *again])
        assert (manifest.impressions, manifest.rows) == (4, 4)
        assert sum(row["click"] for row in log.rows()) == 2

    def test_impressions_that_share_key_and_time_are_all_kept_and_the_click_counts_once(self, log: Log) -> None:
        twin = shown("q1", "a", NOON, 3, event_id="twin")
        manifest = log.build([*BACKGROUND, twin], features=engagement(log.root / "in", ("a", -1, 7)))
        twins = [row for row in log.rows() if (row["search_id"], row["ad_id"]) == ("q1", "a")]
        assert manifest.rows == manifest.impressions == 5
        assert [(row["position"], row["click"], row["impressions_7d"]) for row in twins] == [(1, 1, 7), (3, 0, 7)]

    def test_request_time_context_becomes_features_and_the_slot_does_not(self, log: Log) -> None:
        rows = [
            *BACKGROUND,
            shown("q2", "c", NOON + HOUR, 3, context={"slot": 3.0, "price": 9.5, "a b": math.inf, "q\"'": 2.0}),
        ]
        manifest = log.build(rows)
        assert manifest.features == (
            *(f.name for f in registry.load().features),
            "context.a b",
            "context.price",
            "context.q\"'",
        )
        assert log.row("q2", "c")["slot"] == 3
        assert (log.row("q2", "c")["context.price"], log.row("q2", "c")["context.q\"'"]) == (9.5, 2)
        assert math.isnan(log.row("q2", "c")["context.a b"]), "infinity cannot be served in JSON: missing"
        assert math.isnan(log.row("q1", "a")["context.price"])

    def test_a_feature_that_is_known_only_after_the_impression_is_left_out(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late = known_late("clicks_1h")
        monkeypatch.setattr(registry, "load", lambda: late)
        row = ("a", NOON - HOUR, NOON, {"clicks_1h": 1, "clicks_7d": 2})
        manifest = log.build(BACKGROUND, features=write_features(log.root / "in", "ad_engagement", [row]))
        assert set(manifest.features) == {f.name for f in late.features} - {"clicks_1h"}
        assert "clicks_1h" not in log.row("q1", "a")
        assert log.row("q1", "a")["clicks_7d"] == 2

    def test_an_event_without_context_has_neither_slot_nor_features(self, log: Log) -> None:
        log.build([*BACKGROUND, shown("q2", "c", NOON + HOUR, 3) | {"context": None}])
        assert math.isnan(log.row("q2", "c")["slot"])

    def test_rows_are_sorted_by_query_time_then_search_then_position(self, log: Log) -> None:
        rows = [
            *answered("z", NOON),
            *answered("y", NOON),
            *answered("x", NOON + MINUTE),
            shown("z", "c", NOON + 5 * MINUTE, 3),
            *answered("w", NOON + HOUR),
        ]
        log.build(rows[::-1], test_fraction=0.25)
        found = [(row["search_id"], row["position"]) for row in log.rows()]
        order = ["y", "y", "z", "z", "z", "x", "x", "w", "w"]
        assert found == list(zip(order, [1, 2, 1, 2, 3, 1, 2, 1, 2], strict=True))

    def test_the_digest_is_of_the_rows_not_of_files_or_their_order(self, log: Log, tmp_path: Path) -> None:
        first = log.build(BACKGROUND)
        other = Log(tmp_path / "other")
        write_events(other.root / "events", BACKGROUND[:2], name="part-1.parquet")
        assert other.build(BACKGROUND[:1:-1]).content_digest == first.content_digest
        changed = Log(tmp_path / "changed").build([*BACKGROUND[:-1], clicked("q2", "b", NOON + HOUR)])
        assert changed.content_digest != first.content_digest


class TestLabels:
    def test_an_answer_counts_until_the_maturity_and_not_after(self, log: Log) -> None:
        rows = [
            shown("q1", "a", NOON),
            shown("q1", "b", NOON, 2),
            clicked("q1", "a", NOON + HOUR),
            clicked("q1", "b", NOON + HOUR + timedelta(microseconds=1)),
            *answered("q2", NOON + 2 * HOUR),
        ]
        log.build(rows)
        assert [log.row("q1", ad)["click"] for ad in ("a", "b")] == [1, 0]

    def test_an_answer_belongs_to_the_last_impression_before_it(self, log: Log) -> None:
        rows = [*BACKGROUND, shown("q1", "b", NOON + 10 * MINUTE, 5), clicked("q1", "b", NOON + 11 * MINUTE)]
        log.build(rows)
        found = [(row["position"], row["click"]) for row in log.rows() if row["search_id"] == "q1"]
        assert found == [(1, 1), (2, 0), (5, 1)]

    def test_impressions_that_are_too_young_are_left_out(self, log: Log, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        manifest = log.build([*BACKGROUND, *answered("young", NOON + 2 * HOUR)], as_of=NOON + 2 * HOUR)
        assert {row["search_id"] for row in log.rows()} == {"q1", "q2"}
        assert manifest.end == NOON + HOUR
        assert "4 impressions in the window; 0 are younger" in caplog.text
        log.build([*BACKGROUND, *answered("young", NOON + 2 * HOUR)], as_of=NOON + 2 * HOUR + MINUTE)
        assert "6 impressions in the window; 2 are younger" in caplog.text

    def test_the_grade_is_the_weighted_sum_of_the_objectives(self, log: Log) -> None:
        rows = [
            *BACKGROUND,
            clicked("q1", "b", NOON + MINUTE),
            event("contact", "q1", "b", NOON + MINUTE),
            event("sale", "q1", "b", NOON + MINUTE, revenue=20.0),
            event("sale", "q2", "b", NOON + HOUR, revenue=1e12),
        ]
        log.build(rows, labels=Labels(click=1, contact=4, revenue=0.5, max_grade=10))
        sold = log.row("q1", "b")
        assert (sold["click"], sold["contact"], sold["revenue"]) == (1, 1, 20)
        assert sold["objective_label"] == round(1 + 4 + 0.5 * math.log1p(20)) == 7
        assert log.row("q2", "b")["objective_label"] == 10, "clipped to the highest grade"
        assert log.row("q1", "a")["objective_label"] == 1


class TestSplit:
    def test_the_newest_queries_by_first_impression_are_the_test(self, log: Log) -> None:
        rows = [row for n in range(10) for row in answered(f"q{n}", NOON + n * MINUTE)]
        manifest = log.build(rows, test_fraction=0.2)
        tested = [row["search_id"] for row in log.rows() if row["split"] == "test"]
        assert sorted(set(tested)) == ["q8", "q9"]
        assert (manifest.test_start, manifest.train_rows, manifest.test_rows) == (NOON + 8 * MINUTE, 16, 4)

    def test_a_query_never_straddles_the_split(self, log: Log) -> None:
        log.build([*BACKGROUND, shown("q1", "late", NOON + 5 * HOUR, 3)])
        assert log.row("q1", "late")["split"] == "train"
        assert log.row("q2", "a")["split"] == "test"


class TestRefusals:
    def test_no_events(self, log: Log) -> None:
        with pytest.raises(ThinLogError, match="no mature impressions between"):
            log.build([])

    def test_nothing_mature(self, log: Log) -> None:
        with pytest.raises(ThinLogError, match=r"\(4 are too young\)"):
            log.build(BACKGROUND, as_of=NOON + HOUR - MINUTE + HOUR, labels=Labels(maturity=5 * HOUR))

    def test_one_query_only(self, log: Log) -> None:
        with pytest.raises(ThinLogError, match="holds 1 query"):
            log.build(answered("q1", NOON))

    def test_queries_of_one_moment(self, log: Log) -> None:
        with pytest.raises(ThinLogError, match="same time"):
            log.build([*answered("q1", NOON), *answered("q2", NOON)])

    @pytest.mark.parametrize(("positive", "split"), [("q1", "test"), ("q2", "train")])
    def test_a_split_without_a_positive_is_named(self, log: Log, positive: str, split: str) -> None:
        rows = [row for row in BACKGROUND if row["event_type"] == "impression" or row["search_id"] == positive]
        with pytest.raises(ThinLogError, match=f"no impression of the {split} split .* has a positive"):
            log.build(rows)

    def test_a_revenue_that_is_no_number_names_its_event(self, log: Log) -> None:
        with pytest.raises(sagemaker_job.JobError, match=r"event sale-q1-a-.* revenue that is no number"):
            log.build([*BACKGROUND, event("sale", "q1", "a", NOON, revenue=math.nan)])

    def test_an_impression_without_position_names_its_event(self, log: Log) -> None:
        with pytest.raises(sagemaker_job.JobError, match=r"event impression-q1-c.* lacks a required value"):
            log.build([*BACKGROUND, shown("q1", "c", NOON) | {"position": None}])

    def test_an_events_file_that_lacks_a_column(self, log: Log) -> None:
        path = write_events(log.root / "events", BACKGROUND) / "raw/events/dt=2026-03-02/hr=12/part-0.parquet"
        table = pq.read_table(path).drop_columns(["context"])
        pq.write_table(table, path)
        with pytest.raises(sagemaker_job.JobError, match=r"events cannot be read.*context"):
            build_training_set.build(
                log.root / "events", None, None, log.output,
                as_of=NOON + HOUR, window_days=1, test_fraction=0.5, labels=Labels(),
            )  # fmt: skip

    def test_a_feature_file_that_lacks_a_column_or_has_another(self, log: Log) -> None:
        directory = engagement(log.root / "in", ("a", 0, 1))
        (path,) = directory.rglob("*.parquet")
        table = pq.read_table(path)
        pq.write_table(table.rename_columns({"clicks_7d": "clicks_30d"}), path)
        with pytest.raises(FeatureFilesError, match="ad_engagement: lacks clicks_7d, has unknown clicks_30d"):
            log.build(BACKGROUND, features=directory)

    def test_features_of_another_registry(self, log: Log) -> None:
        features = write_partition(log.root / "in", "ad_engagement", NOON, NOON, {}, fingerprint="0" * 64)
        with pytest.raises(FeatureFilesError, match="ad_engagement was computed against fingerprint 000000000000"):
            log.build(BACKGROUND, features=features)

    def test_a_broken_catalogue_line(self, log: Log) -> None:
        ads = write_ads(log.root / "ads", [("a", {"seller_id": "s"}, NOON)])
        with (ads / "part-0.jsonl").open("a") as file:
            file.write('{"op": "c", "after": \n')
        with pytest.raises(sagemaker_job.JobError, match=r"catalogue changes cannot be read.*part-0\.jsonl"):
            log.build(BACKGROUND, ads=ads)


def test_the_job_reads_and_writes_where_sagemaker_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    write_events(tmp_path / "processing/input/events", BACKGROUND)
    as_of = (NOON + 24 * HOUR).astimezone(UTC).isoformat()
    arguments = ["job", "--as-of", as_of, "--window-days", "1", "--test-fraction", "0.5"]
    monkeypatch.setattr("sys.argv", [*arguments, "--labels", Labels().model_dump_json()])
    sagemaker_job.run("processing", build_training_set.main)
    manifest = json.loads((tmp_path / "processing/output/training_set/manifest.json").read_text())
    assert manifest["rows"] == 4


def test_a_failed_job_says_why_in_the_message_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    arguments = ["job", "--as-of", NOON.isoformat(), "--window-days", "1", "--test-fraction", "0.5"]
    monkeypatch.setattr("sys.argv", [*arguments, "--labels", Labels().model_dump_json()])
    with pytest.raises(SystemExit, match="1"):
        sagemaker_job.run("processing", build_training_set.main)
    assert "processing input 'events' is missing" in (tmp_path / "output/message").read_text()
