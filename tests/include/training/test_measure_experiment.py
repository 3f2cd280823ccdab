"""One look: users, searches and answers of an experiment, counted from raw events."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adrank.contracts.experiments import Experiment
from adrank.contracts.timestamps import DAY
from adrank.decisions.experiment import ExperimentStatistics, MetricSums
from adrank.runtime import sagemaker_job
from tests.include.training.billing import MONDAY, THURSDAY, TUESDAY, WEDNESDAY, WEEK, bill, bill_days, sale
from tests.include.training.logs import HOUR, MINUTE, NOON, Row, event, shown, write_events
from training.measure_experiment import main, measure

EXPERIMENT = Experiment(
    experiment_id="ab-1",
    salt="s",
    treatment_share=0.5,
    control_endpoint="production",
    treatment_endpoint="staging",
    start=NOON,
    status="running",
    package_digest="d",
)


def search(name: str, user: str, variant: str, at: timedelta = MINUTE, **more: Any) -> list[Row]:
    """Two impressions of one search."""
    tags = {"user_id": user, "variant": variant, "experiment_id": "ab-1", **more}
    return [shown(name, ad, NOON + at, position, **tags) for position, ad in enumerate(("a", "b"), 1)]


def answer(kind: str, name: str, at: timedelta = 2 * MINUTE, **more: Any) -> Row:
    return event(kind, name, "a", NOON + at, **more)


def look(tmp_path: Path, rows: list[Row], hours: int = 24) -> ExperimentStatistics:
    return measure(write_events(tmp_path, rows), EXPERIMENT, NOON, NOON + hours * HOUR)


def test_sums_are_per_user_and_a_search_counts_once_whatever_it_showed(tmp_path: Path) -> None:
    rows = [
        *search("s1", "u1", "control"),
        *search("s2", "u1", "control"),
        *search("s3", "u2", "control"),
        *search("s4", "u3", "treatment"),
        answer("click", "s1"),
        answer("click", "s1", 3 * MINUTE),
        answer("contact", "s2"),
        answer("click", "s3"),
        answer("sale", "s3", revenue=5.0),
        answer("contact", "s4", revenue=2.0),
    ]
    found = look(tmp_path, rows)
    control, treatment = found.variants["control"], found.variants["treatment"]
    assert (control.users, control.searches, control.searches_squares) == (2, 3, 2**2 + 1**2)
    # u1: 2 searches, 2 clicks, 1 contact; u2: 1 search, 1 click, revenue 5.
    assert control.metrics["clicks"] == MetricSums(total=3, squares=2**2 + 1, with_searches=2 * 2 + 1)
    assert control.metrics["contacts"] == MetricSums(total=1, squares=1, with_searches=2)
    assert control.metrics["revenue"] == MetricSums(total=5, squares=25, with_searches=5)
    assert (treatment.users, treatment.metrics["contacts"].total, treatment.metrics["revenue"].total) == (1, 1, 2)


def test_redelivered_events_count_once(tmp_path: Path) -> None:
    rows = [*search("s1", "u1", "control"), answer("contact", "s1")]
    assert look(tmp_path, rows * 2) == look(tmp_path / "once", rows)


def test_a_user_in_both_variants_is_counted_and_left_out(tmp_path: Path) -> None:
    rows = [*search("s1", "u1", "control"), *search("s2", "u1", "treatment"), *search("s3", "u2", "treatment")]
    found = look(tmp_path, rows)
    assert found.crossovers == 1
    assert (found.variants["control"].users, found.variants["treatment"].users) == (0, 1)


def test_hours_are_half_open_and_never_before_the_experiments_start(tmp_path: Path) -> None:
    rows = [
        *search("early", "u1", "control", -MINUTE),
        *search("first", "u2", "control", timedelta(0)),
        *search("last", "u3", "control", HOUR - timedelta(microseconds=1)),
        *search("late", "u4", "control", HOUR),
        answer("contact", "last", HOUR),
    ]
    found = measure(write_events(tmp_path, rows), EXPERIMENT, NOON - HOUR, NOON + HOUR)
    assert found.start == NOON
    assert found.variants["control"].users == 2
    assert found.variants["control"].metrics["contacts"].total == 0


def test_other_traffic_does_not_count(tmp_path: Path) -> None:
    rows = [*search("s1", "u1", "control", experiment_id="other"), *search("s2", "u2", "", experiment_id="")]
    rows += [answer("contact", "s1"), answer("contact", "unheard of")]
    assert look(tmp_path, rows).variants["control"].users == 0


def test_no_events_at_all_is_a_look_at_nothing() -> None:
    found = measure(None, EXPERIMENT, NOON, NOON + HOUR)
    assert [variant.users for variant in found.variants.values()] == [0, 0]


def test_a_variant_that_the_experiment_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(sagemaker_job.JobError, match="user u1 has impressions of ab-1 with variant 'blue'"):
        look(tmp_path, search("s1", "u1", "blue"))


def test_the_job_writes_the_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    write_events(tmp_path / "processing/input/events", search("s1", "u1", "control"))
    times = ["--start", NOON.isoformat(), "--end", (NOON + HOUR).isoformat()]
    monkeypatch.setattr("sys.argv", ["job", "--experiment", EXPERIMENT.model_dump_json(), *times])
    sagemaker_job.run_job("processing", main)
    stored = (tmp_path / "processing/output/look/look.json").read_bytes()
    found = ExperimentStatistics.model_validate_json(stored)
    assert (found.experiment_id, found.variants["control"].users) == ("ab-1", 1)


class TestBilledRevenue:
    def rows(self) -> list[Row]:
        of = {"c": "control", "t": "treatment"}
        searches = [
            shown(name, "a", NOON, user_id=name, variant=variant, experiment_id="ab-1") for name, variant in of.items()
        ]
        return [*searches, sale("c"), sale("t")]

    def test_counts_billed_revenue_where_there_is_any_and_says_how_much_is_not(self, tmp_path: Path) -> None:
        billing = bill(tmp_path / "b", MONDAY, ("sale-c", "6"))
        found = measure(write_events(tmp_path, self.rows()), EXPERIMENT, NOON, WEEK, billing=billing)
        control, treatment = found.variants["control"], found.variants["treatment"]
        assert (control.metrics["revenue"].total, control.provisional_revenue) == (6, 0)
        assert (treatment.metrics["revenue"].total, treatment.provisional_revenue) == (10, 10)
        assert found.provisional_revenue_share == 10 / 16

    def test_sees_no_export_that_lands_after_its_end(self, tmp_path: Path) -> None:
        billing = bill(tmp_path / "b", MONDAY, ("sale-c", "6"))
        found = measure(write_events(tmp_path, self.rows()), EXPERIMENT, NOON, TUESDAY - HOUR, billing=billing)
        assert found.variants["control"].metrics["revenue"].total == 10
        assert found.provisional_revenue_share == 1

    def test_respects_the_maturity(self, tmp_path: Path) -> None:
        billing = bill_days(tmp_path / "b", MONDAY, MONDAY + 6 * DAY)
        found = measure(write_events(tmp_path, self.rows()), EXPERIMENT, NOON, WEEK, billing=billing)
        assert found.variants["control"].metrics["revenue"].total == 0
        assert found.provisional_revenue_share is None

    def test_says_what_was_billed_for_no_answer_whoever_saw_it(self, tmp_path: Path) -> None:
        elsewhere = [shown("other", "a", NOON), sale("other")]
        billing = bill(tmp_path / "b", THURSDAY, ("sale-c", "6"), ("sale-other", "5"), ("lost", "2.5"))
        events = write_events(tmp_path, [*self.rows(), *elsewhere])
        found = measure(events, EXPERIMENT, NOON, WEEK, billing=billing)
        assert (found.unmatched_events, found.unmatched_revenue) == (1, 2.5)

    def test_of_an_empty_log_misses_all_that_was_billed_since_it_began_and_matured(self, tmp_path: Path) -> None:
        bill(tmp_path / "b", WEDNESDAY, ("old", "1"))
        billing = bill(tmp_path / "b", THURSDAY, ("lost", "2.5"))
        found = measure(None, EXPERIMENT, NOON, WEEK, billing=billing)
        assert (found.unmatched_events, found.unmatched_revenue) == (1, 2.5)
