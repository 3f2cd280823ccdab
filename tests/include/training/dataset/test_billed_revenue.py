"""What was billed supersedes what was logged, as of a time, and says how much of it is still provisional."""

from __future__ import annotations

import csv
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from adrank.contracts.manifests import TrainingSetManifest
from adrank.contracts.settings import Labels
from adrank.contracts.timestamps import DAY
from ingestion.own_logs import importer
from tests.include.training.billing import MONDAY, THURSDAY, TUESDAY, WEDNESDAY, WEEK, Directory, bill, bill_days, sale
from tests.include.training.logs import HOUR, MINUTE, NOON, Log, Row, answered, shown
from training import build_training_set
from training.dataset import billed_revenue, duckdb_sql
from training.dataset.billed_revenue import BillingFilesError


def build(log: Log, rows: list[Row], billing: Path | None, as_of: datetime = WEEK) -> TrainingSetManifest:
    return log.build([*answered("q1", NOON), *answered("q2", NOON + HOUR), *rows], as_of=as_of, billing=billing)


def revenue(log: Log, search: str = "q1") -> Any:
    return log.row(search, "a")["revenue"]


class TestASaleOfATrainingSet:
    def test_without_any_billing_earns_its_provisional_revenue_for_ever(self, log: Log) -> None:
        manifest = build(log, [sale("q1")], None)
        assert revenue(log) == 10
        assert (manifest.provisional_events, manifest.provisional_revenue) == (1, 10)
        assert (manifest.billed_events, manifest.expired_events) == (0, 0)

    def test_earns_what_it_was_billed_not_that_on_top(self, log: Log) -> None:
        manifest = build(log, [sale("q1")], bill(log.root / "b", MONDAY, ("sale-q1", "9.50")))
        assert revenue(log) == 9.5
        assert (manifest.billed_events, manifest.billed_revenue, manifest.provisional_events) == (1, 9.5, 0)

    def test_adds_up_the_amounts_of_all_days_exactly(self, log: Log) -> None:
        bill(log.root / "b", MONDAY, ("sale-q1", "0.1"), ("sale-q1", "0.2"))
        bill(log.root / "b", TUESDAY, *((f"other-{n}", "1") for n in range(5)), ("sale-q1", "-0.000001"))
        build(log, [sale("q1")], log.root / "b")
        assert revenue(log) == 0.299999

    def test_that_was_delivered_twice_is_billed_once(self, log: Log) -> None:
        build(log, [sale("q1"), sale("q1")], bill(log.root / "b", MONDAY, ("sale-q1", "9.50")))
        assert revenue(log) == 9.5

    def test_without_provisional_revenue_earns_what_it_was_billed(self, log: Log) -> None:
        manifest = build(log, [sale("q1", revenue=None)], bill(log.root / "b", MONDAY, ("sale-q1", "4")))
        assert (revenue(log), manifest.billed_events) == (4, 1)

    def test_that_was_refunded_whole_earned_nothing(self, log: Log) -> None:
        manifest = build(log, [sale("q1")], bill(log.root / "b", MONDAY, ("sale-q1", "4"), ("sale-q1", "-4")))
        assert (revenue(log), manifest.billed_events) == (0, 1)

    def test_changes_the_grade_that_the_model_learns(self, log: Log) -> None:
        labels = Labels(click=0, contact=0, revenue=1)
        rows = [*answered("q1", NOON), *answered("q2", NOON + HOUR), sale("q1", revenue=1000), sale("q2", NOON + HOUR)]
        log.build(rows, labels=labels, billing=bill(log.root / "b", MONDAY, ("sale-q1", "2")))
        assert log.row("q1", "a")["objective_label"] == 1, "round(ln(1 + 2))"

    def test_is_found_by_its_id_however_that_is_spelled(self, log: Log) -> None:
        event_ids = ('a "quoted" one', "a, b", "two\nlines", "NULL", "null", "ä")
        billing = bill(log.root / "b", MONDAY, *((event_id, "3") for event_id in event_ids))
        manifest = build(log, [sale("q1", event_id=event_id) for event_id in event_ids], billing)
        assert (revenue(log), manifest.billed_events) == (18, 6)


class TestAnUnbilledSale:
    """It happened on Monday at 12:02; it is mature on Wednesday at 12:02."""

    def test_earned_nothing_once_every_night_that_could_have_billed_it_has_landed(self, log: Log) -> None:
        manifest = build(log, [sale("q1")], bill_days(log.root / "b", MONDAY, MONDAY + 2 * DAY))
        assert revenue(log) == 0
        assert (manifest.expired_events, manifest.provisional_events, manifest.provisional_revenue) == (1, 0, 0)

    def test_keeps_its_provisional_revenue_until_then(self, log: Log) -> None:
        manifest = build(log, [sale("q1")], bill_days(log.root / "b", MONDAY, MONDAY + DAY))
        assert (revenue(log), manifest.provisional_events, manifest.expired_events) == (10, 1, 0)

    def test_keeps_it_while_the_last_of_these_nights_had_not_landed_as_of_the_set(self, log: Log) -> None:
        billing = bill_days(log.root / "b", MONDAY, MONDAY + 4 * DAY)
        build(log, [sale("q1")], billing, as_of=MONDAY + 3 * DAY - MINUTE)
        assert revenue(log) == 10
        build(log, [sale("q1")], billing, as_of=MONDAY + 3 * DAY)
        assert revenue(log) == 0

    def test_keeps_it_when_one_of_these_nights_is_missing(self, log: Log) -> None:
        bill(log.root / "b", MONDAY)
        build(log, [sale("q1")], bill_days(log.root / "b", MONDAY + 2 * DAY, MONDAY + 6 * DAY))
        assert revenue(log) == 10

    def test_of_before_the_exports_began_keeps_it(self, log: Log) -> None:
        build(log, [sale("q1")], bill_days(log.root / "b", TUESDAY, MONDAY + 6 * DAY))
        assert revenue(log) == 10

    def test_without_revenue_is_not_counted(self, log: Log) -> None:
        manifest = build(log, [sale("q1", revenue=None)], bill_days(log.root / "b", MONDAY, MONDAY + 4 * DAY))
        assert (manifest.expired_events, manifest.provisional_events) == (0, 0)


class TestBillingThatMatchesNoAnswer:
    """The log begins on Monday at noon, so whatever is first billed from Wednesday noon on must bill an event of it."""

    @staticmethod
    def unmatched(manifest: TrainingSetManifest) -> tuple[int, float]:
        return manifest.unmatched_events, manifest.unmatched_revenue

    def test_is_counted_with_what_it_was_billed(self, log: Log, caplog: pytest.LogCaptureFixture) -> None:
        impression = shown("q1", "a", NOON)["event_id"]
        bill(log.root / "b", THURSDAY, ("lost", "3.25"), ("sale-q1", "9.5"), (impression, "2"), ("lost", "1.5"))
        manifest = build(log, [sale("q1")], log.root / "b")
        assert self.unmatched(manifest) == (2, 3.25 + 2 + 1.5)
        assert (manifest.billed_events, manifest.billed_revenue) == (1, 9.5)
        assert "2 events were billed 6.75 and match no answer of the log" in caplog.text

    def test_is_nothing_where_every_billed_event_is_an_answer(self, log: Log, caplog: pytest.LogCaptureFixture) -> None:
        manifest = build(log, [sale("q1")], bill(log.root / "b", THURSDAY, ("sale-q1", "9.5")))
        assert self.unmatched(manifest) == (0, 0)
        assert "match no answer of the log" not in caplog.text

    def test_an_answer_without_an_impression_is_an_answer(self, log: Log) -> None:
        manifest = build(log, [sale("q9")], bill(log.root / "b", THURSDAY, ("sale-q9", "9.5")))
        assert self.unmatched(manifest) == (0, 0)

    def test_of_an_event_that_may_be_from_before_the_log_is_not_counted(self, log: Log) -> None:
        billing = bill(log.root / "b", WEDNESDAY, ("old", "1"))
        assert self.unmatched(build(log, [], billing)) == (0, 0)

    def test_of_an_event_that_may_be_from_before_the_window_is_not_counted(self, log: Log) -> None:
        before_the_window = shown("q0", "a", MONDAY - 3 * DAY)
        bill(log.root / "b", TUESDAY, ("old", "1"))
        bill(log.root / "b", WEDNESDAY, ("two days after the window began", "2"))
        assert self.unmatched(build(log, [before_the_window], log.root / "b")) == (1, 2)

    def test_an_event_is_as_old_as_its_first_billing(self, log: Log) -> None:
        bill(log.root / "b", TUESDAY, ("old", "1"))
        bill(log.root / "b", THURSDAY, ("old", "2"))
        assert self.unmatched(build(log, [], log.root / "b")) == (0, 0)

    def test_a_refund_of_what_was_charged_before_is_not_counted(self, log: Log) -> None:
        billing = bill(log.root / "b", THURSDAY, ("old", "-4"), ("cancelled", "3"), ("cancelled", "-3"), ("lost", "1"))
        assert self.unmatched(build(log, [], billing)) == (1, 1)

    def test_that_has_not_landed_as_of_the_set_is_not_counted_yet(self, log: Log) -> None:
        billing = bill(log.root / "b", THURSDAY, ("lost", "3"))
        assert self.unmatched(build(log, [], billing, as_of=THURSDAY + DAY - MINUTE)) == (0, 0)
        assert self.unmatched(build(log, [], billing, as_of=THURSDAY + DAY)) == (1, 3)


class TestAsOf:
    def test_an_export_that_had_not_landed_does_not_exist_yet(self, log: Log) -> None:
        billing = bill(log.root / "b", MONDAY, ("sale-q1", "9"), lag=3 * HOUR)
        build(log, [sale("q1")], billing, as_of=TUESDAY + 3 * HOUR - MINUTE)
        assert revenue(log) == 10
        build(log, [sale("q1")], billing, as_of=TUESDAY + 3 * HOUR)
        assert revenue(log) == 9

    def test_a_set_is_built_again_as_it_was_after_a_correction_landed(self, log: Log) -> None:
        billing = bill(log.root / "b", MONDAY, ("sale-q1", "9"))
        before = build(log, [sale("q1")], billing, as_of=MONDAY + 2 * DAY)
        bill(billing, MONDAY, ("sale-q1", "8"), clock=MONDAY + 3 * DAY)
        assert build(log, [sale("q1")], billing, as_of=MONDAY + 2 * DAY) == before
        build(log, [sale("q1")], billing, as_of=MONDAY + 3 * DAY)
        assert revenue(log) == 8


class TestFilesThatContradictThemselves:
    def test_a_changed_file_is_refused(self, log: Log) -> None:
        billing = bill(log.root / "b", MONDAY, ("sale-q1", "9"))
        (file,) = billing.rglob("*.csv")
        file.write_text(file.read_text().replace("9", "90"))
        with pytest.raises(BillingFilesError, match=r"part-\w+\.csv is not the file that _MANIFEST"):
            build(log, [sale("q1")], billing)

    def test_a_lost_file_is_refused(self, log: Log) -> None:
        billing = bill(log.root / "b", MONDAY, ("sale-q1", "9"))
        next(billing.rglob("*.csv")).unlink()
        with pytest.raises(BillingFilesError, match="which cannot be read"):
            build(log, [sale("q1")], billing)

    def test_a_broken_manifest_is_refused(self, log: Log) -> None:
        billing = bill(log.root / "b", MONDAY, ("sale-q1", "9"))
        next(billing.rglob("_MANIFEST.json")).write_text("{}")
        with pytest.raises(BillingFilesError, match="is no billing manifest"):
            build(log, [sale("q1")], billing)

    def test_two_currencies_are_not_added_up(self, log: Log) -> None:
        bill(log.root / "b", MONDAY, ("sale-q1", "9"))
        bill(log.root / "b", TUESDAY, ("sale-q2", "9"), currency="JPY")
        with pytest.raises(BillingFilesError, match="billing is in EUR and JPY"):
            build(log, [sale("q1")], log.root / "b")

    def test_a_file_that_no_manifest_names_is_not_read(self, log: Log) -> None:
        billing = bill(log.root / "b", MONDAY, ("sale-q1", "9"))
        (file,) = billing.rglob("*.csv")
        (file.parent / "part-left-behind.csv").write_text(file.read_text())
        build(log, [sale("q1")], billing)
        assert revenue(log) == 9


def test_a_sum_is_the_double_next_to_the_exact_one(tmp_path: Path) -> None:
    billing = bill(tmp_path, MONDAY, *(("e", "0.1") for _ in range(1000)), ("f", "123456789012.000001"))
    connection = duckdb_sql.connect()
    billed_revenue.read(connection, billing, WEEK)
    assert dict(connection.execute("SELECT * FROM billed").fetchall()) == {"e": 100.0, "f": 123456789012.000001}


def test_the_revenue_of_imported_logs_is_that_of_their_billing(tmp_path: Path) -> None:
    """The import folds billing into the events and lands it too: joining it must replace a figure by itself."""
    data, lake_directory, rng = tmp_path / "data", tmp_path / "lake", random.Random(20)
    data.mkdir()
    names = ("event_id", "event_type", "event_time", "user_id", "search_id", "ad_id", "position", "revenue")
    rows, bills = [names], [("event_id", "billed_at", "amount", "currency")]
    for n in range(200):
        at = NOON + n * MINUTE
        rows.append((f"i{n}", "impression", at.isoformat(), f"u{n}", f"s{n}", "a", 1, ""))
        rows.append((f"b{n}", "sale", at.isoformat(), f"u{n}", f"s{n}", "a", 1, rng.random()))
        for _ in range(rng.randrange(1, 4)):
            amount = rng.choice([0.1, 0.2, 12.340000000000002, 1e-7, 5e-7, rng.random() * 10 ** rng.randrange(9)])
            bills.append((f"b{n}", (at + HOUR).isoformat(), repr(amount), "EUR"))
    for name, table in (("events", rows), ("billing", bills)):
        with (data / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)
    importer.land(importer.read(data), Directory(lake_directory))
    found = {}
    for billing in (None, lake_directory / "raw/billing"):
        manifest = build_training_set.build(
            *(lake_directory / "raw/events", None, None, tmp_path / "set"),
            **{"as_of": WEEK, "window_days": 7, "test_fraction": 0.5, "labels": Labels(), "billing": billing},
        )
        found[manifest.billed_events] = manifest.content_digest
    assert set(found) == {0, 200}
    assert found[0] == found[200]
