"""An ad has the seller and the category of the moment of its impression."""

from __future__ import annotations

import pytest

from adrank.contracts.registry import user_category
from adrank.runtime import sagemaker_job
from tests.include.training.logs import (
    BACKGROUND,
    HOUR,
    MINUTE,
    NOON,
    Log,
    write_ads,
    write_features,
)


def test_seller_features_are_those_of_the_seller_at_the_impression(log: Log) -> None:
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


def test_an_ad_has_its_first_seller_before_the_catalogue_was_snapshotted(log: Log) -> None:
    log.build(BACKGROUND, ads=write_ads(log.root / "ads", [("a", {"seller_id": "s"}, NOON + 20 * HOUR)]))
    assert log.row("q1", "a")["seller_id"] == "s"


def test_affinity_is_that_of_the_user_for_the_category_at_the_impression(log: Log) -> None:
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


def test_what_a_change_does_not_say_stays_as_it_was(log: Log) -> None:
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


def test_a_broken_catalogue_line(log: Log) -> None:
    ads = write_ads(log.root / "ads", [("a", {"seller_id": "s"}, NOON)])
    with (ads / "part-0.jsonl").open("a") as file:
        file.write('{"op": "c", "after": \n')
    with pytest.raises(sagemaker_job.JobError, match=r"catalogue changes cannot be read.*part-0\.jsonl"):
        log.build(BACKGROUND, ads=ads)
