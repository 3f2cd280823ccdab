"""A feature partition is outdated when late events changed the log that it was computed from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adrank.contracts import registry
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.timestamps import HOUR
from adrank.decisions.lateness import RawLog, available_at, outdated

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
ENGAGEMENT, ATTRIBUTES = (registry.load().group(name) for name in ("ad_engagement", "ad_attributes"))
LAG = ENGAGEMENT.lag


def at(hours: float) -> datetime:
    return FIRST + hours * HOUR


def log(hours: int, revised: dict[int, datetime] | None = None) -> RawLog:
    """``hours`` closed hours, of which ``revised`` have a first revision of that time."""
    return RawLog.of(
        RawManifest(
            hour=at(hour),
            revision=int(hour in (revised or {})),
            revision_time=(revised or {}).get(hour, at(hour + 1)),
            watermark=at(hour + 1),
            rows=0,
        )
        for hour in range(hours)
    )


def computed(hour: int, raw_state: str, available: datetime | None = None) -> FeatureManifest:
    return FeatureManifest(
        group=ENGAGEMENT.name,
        hour=at(hour),
        available_at=available or at(hour + 1) + LAG,
        fingerprint=ENGAGEMENT.fingerprint,
        rows=0,
        content_digest="",
        files=(),
        raw_state=raw_state,
    )


def partitions(hours: int, before: RawLog) -> list[FeatureManifest]:
    return [computed(hour, before.state(ENGAGEMENT, at(hour))) for hour in range(hours)]


def test_a_revised_hour_outdates_the_96_partitions_that_it_may_reach() -> None:
    newest = partitions(200, log(200))
    assert outdated(ENGAGEMENT, newest, log(200)) == []
    assert outdated(ENGAGEMENT, newest, log(200, {10: at(30)})) == [at(hour) for hour in range(10, 106)]


def test_an_hour_that_was_not_there_before_outdates_too() -> None:
    shorter = RawLog({hour: raw for hour, raw in log(200).hours.items() if hour != at(3)})
    assert outdated(ENGAGEMENT, partitions(5, shorter), log(200)) == [at(3), at(4)]


def test_a_second_revision_outdates_what_the_first_was_computed_from() -> None:
    once = log(3, {1: at(5)})
    twice = RawLog({**once.hours, at(1): once.hours[at(1)].model_copy(update={"revision": 2})})
    assert outdated(ENGAGEMENT, partitions(3, once), once) == []
    assert outdated(ENGAGEMENT, partitions(3, once), twice) == [at(1), at(2)]


def test_what_was_computed_before_states_were_kept_came_from_a_log_without_revisions() -> None:
    legacy = [computed(hour, "") for hour in range(3)]
    assert outdated(ENGAGEMENT, legacy, log(3)) == []
    assert outdated(ENGAGEMENT, legacy, log(3, {1: at(5)})) == [at(1), at(2)]


def test_a_group_that_reads_no_events_is_never_outdated_by_them() -> None:
    late = log(3, {1: at(5)})
    newest = [computed(1, raw_state) for raw_state in ("", log(3).state(ATTRIBUTES, at(1)))]
    assert outdated(ATTRIBUTES, newest, late) == []
    assert late.state(ATTRIBUTES, at(1)) == log(0).state(ATTRIBUTES, at(1))
    assert available_at(ATTRIBUTES, at(1), late, None) == at(2) + LAG


@pytest.mark.parametrize(
    ("revised", "available"),
    [
        ({}, at(3) + LAG),
        ({1: at(1.5)}, at(3) + LAG),
        ({1: at(4), 0: at(7.25)}, at(7.25) + LAG),
        ({3: at(50)}, at(3) + LAG),
    ],
    ids=["never revised", "revised before the hour ended", "the last revision counts", "an hour after the window"],
)
def test_rows_are_visible_a_lag_after_hour_and_revisions_are_there(
    revised: dict[int, datetime], available: datetime
) -> None:
    assert available_at(ENGAGEMENT, at(2), log(10, revised), None) == available


def test_a_revision_is_never_visible_before_the_one_that_it_replaces() -> None:
    later = computed(2, "", available=at(20))
    assert available_at(ENGAGEMENT, at(2), log(10, {1: at(4)}), later) == at(20)
    earlier = computed(2, "", available=at(3) + timedelta(minutes=10))
    assert available_at(ENGAGEMENT, at(2), log(10, {1: at(4)}), earlier) == at(4) + LAG


def test_the_time_when_an_hour_was_first_closed_does_not_matter() -> None:
    slow = RawLog({hour: raw.model_copy(update={"revision_time": at(9)}) for hour, raw in log(3).hours.items()})
    assert available_at(ENGAGEMENT, at(2), slow, None) == at(3) + LAG
