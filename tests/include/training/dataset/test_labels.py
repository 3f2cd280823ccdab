"""Labels wait for the maturity, and belong to the impression that was answered."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from adrank.contracts.settings import Labels
from tests.include.training.logs import (
    BACKGROUND,
    HOUR,
    MINUTE,
    NOON,
    Log,
    answered,
    clicked,
    event,
    shown,
)


def test_an_answer_counts_until_the_maturity_and_not_after(log: Log) -> None:
    rows = [
        shown("q1", "a", NOON),
        shown("q1", "b", NOON, 2),
        clicked("q1", "a", NOON + HOUR),
        clicked("q1", "b", NOON + HOUR + timedelta(microseconds=1)),
        *answered("q2", NOON + 2 * HOUR),
    ]
    log.build(rows)
    assert [log.row("q1", ad)["click"] for ad in ("a", "b")] == [1, 0]


def test_an_answer_belongs_to_the_last_impression_before_it(log: Log) -> None:
    rows = [*BACKGROUND, shown("q1", "b", NOON + 10 * MINUTE, 5), clicked("q1", "b", NOON + 11 * MINUTE)]
    log.build(rows)
    found = [(row["position"], row["click"]) for row in log.rows() if row["search_id"] == "q1"]
    assert found == [(1, 1), (2, 0), (5, 1)]


def test_impressions_that_are_too_young_are_left_out(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    manifest = log.build([*BACKGROUND, *answered("young", NOON + 2 * HOUR)], as_of=NOON + 2 * HOUR)
    assert {row["search_id"] for row in log.rows()} == {"q1", "q2"}
    assert manifest.end == NOON + HOUR
    assert "4 impressions in the window; 0 are younger" in caplog.text
    log.build([*BACKGROUND, *answered("young", NOON + 2 * HOUR)], as_of=NOON + 2 * HOUR + MINUTE)
    assert "6 impressions in the window; 2 are younger" in caplog.text


def test_the_grade_is_the_weighted_sum_of_the_objectives(log: Log) -> None:
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
