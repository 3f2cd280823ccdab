"""The training set: rows in = rows out, nothing from the future, labels that waited, a split by time."""

from __future__ import annotations

import json
import math
from datetime import UTC
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from adrank.contracts import registry
from adrank.contracts.settings import Labels
from adrank.runtime import sagemaker_job
from tests.include.training.logs import (
    BACKGROUND,
    HOUR,
    MINUTE,
    NOON,
    Log,
    answered,
    clicked,
    engagement,
    event,
    shown,
    write_events,
    write_features,
)
from tests.support.registries import known_late
from training import build_training_set
from training.dataset.impressions import ThinLogError


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


def test_the_job_reads_and_writes_where_sagemaker_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    write_events(tmp_path / "processing/input/events", BACKGROUND)
    as_of = (NOON + 24 * HOUR).astimezone(UTC).isoformat()
    arguments = ["job", "--as-of", as_of, "--window-days", "1", "--test-fraction", "0.5"]
    monkeypatch.setattr("sys.argv", [*arguments, "--labels", Labels().model_dump_json()])
    sagemaker_job.run_job("processing", build_training_set.main)
    manifest = json.loads((tmp_path / "processing/output/training_set/manifest.json").read_text())
    assert manifest["rows"] == 4


def test_a_failed_job_says_why_in_the_message_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    arguments = ["job", "--as-of", NOON.isoformat(), "--window-days", "1", "--test-fraction", "0.5"]
    monkeypatch.setattr("sys.argv", [*arguments, "--labels", Labels().model_dump_json()])
    with pytest.raises(SystemExit, match="1"):
        sagemaker_job.run_job("processing", build_training_set.main)
    assert "processing input 'events' is missing" in (tmp_path / "output/message").read_text()
