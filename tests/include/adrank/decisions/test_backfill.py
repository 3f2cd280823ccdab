"""A backfill is cut at midnights, and goes on where an earlier one stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adrank.contracts import registry, timestamps
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.timestamps import HOUR
from adrank.decisions import backfill
from adrank.decisions.backfill import BackfillRequest, Chunk
from adrank.decisions.lateness import RawLog

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
GROUP = registry.load().groups[0]


def at(hours: int) -> datetime:
    return FIRST + hours * HOUR


RAW = [RawManifest(hour=at(n), revision_time=at(n + 1), watermark=at(n + 1), rows=0) for n in range(72)]
UNREVISED = RawLog.of(RAW)


def request(start: datetime, end: datetime, **more: Any) -> BackfillRequest:
    form = {"groups": [GROUP.name], "engine": "emr", "chunk_days": 14, "recompute": False}
    return BackfillRequest.model_validate({"start": start.isoformat(), "end": end.isoformat(), **form, **more})


def manifest(hour: datetime, revision: int = 0, fingerprint: str = GROUP.fingerprint) -> FeatureManifest:
    return FeatureManifest(
        group=GROUP.name,
        hour=hour,
        revision=revision,
        available_at=hour + HOUR,
        fingerprint=fingerprint,
        rows=0,
        content_digest="",
        files=(),
    )


def test_the_demos_history_is_one_chunk() -> None:
    assert backfill.chunks(request(at(5), at(195))) == [Chunk(start=at(5), end=at(195))]


def test_chunks_end_at_midnight() -> None:
    cut = backfill.chunks(request(at(5), at(54), chunk_days=1))
    assert cut == [Chunk(start=at(5), end=at(24)), Chunk(start=at(24), end=at(48)), Chunk(start=at(48), end=at(54))]


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(1, 2000), st.integers(1, 40))
def test_every_hour_is_in_one_chunk_and_no_day_in_two(first: int, hours: int, days: int) -> None:
    cut = backfill.chunks(request(at(first), at(first + hours), chunk_days=days))
    assert [hour for chunk in cut for hour in chunk.hours] == list(timestamps.hours(at(first), at(first + hours)))
    touched = [day for chunk in cut for day in timestamps.days(chunk.start, chunk.end)]
    assert len(touched) == len(set(touched))
    assert all(chunk.end - chunk.start <= timedelta(days=days) for chunk in cut)


def test_other_time_zones_and_broken_hours_become_whole_hours_in_utc() -> None:
    form = request(datetime.fromisoformat("2026-03-01T01:30:00+01:00"), datetime.fromisoformat("2026-03-01T05:59:00Z"))
    assert (form.start, form.end) == (at(0), at(5))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"end": at(0).isoformat()}, "no whole hour"),
        ({"start": "2026-03-01T00:00:00"}, "no time zone"),
        ({"groups": ["ad_engagment"]}, "no feature group 'ad_engagment'"),
        ({"groups": []}, "groups"),
        ({"engine": "airflow"}, "engine"),
        ({"chunk_days": 0}, "chunk_days"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        BackfillRequest.model_validate(request(at(0), at(5)).model_dump() | wrong)


def test_a_chunk_is_whole_when_every_hour_has_the_present_layout() -> None:
    planned = backfill.chunks(request(at(0), at(72), chunk_days=1))
    there = [manifest(at(n)) for n in range(72)]
    assert backfill.incomplete_chunks(GROUP, planned, there, UNREVISED) == []
    assert backfill.incomplete_chunks(GROUP, planned, there[:30] + there[31:], UNREVISED) == [planned[1]]
    there[50] = manifest(at(50), fingerprint="another layout")
    assert backfill.incomplete_chunks(GROUP, planned, there, UNREVISED) == [planned[2]]


def test_a_chunk_of_which_late_events_outdated_an_hour_is_not_whole_however_long_ago() -> None:
    planned = backfill.chunks(request(at(0), at(72), chunk_days=1))
    late = RawLog.of([*RAW[:30], RAW[30].model_copy(update={"revision": 1}), *RAW[31:]])
    there = [manifest(at(n)).model_copy(update={"raw_state": UNREVISED.state(GROUP, at(n))}) for n in range(72)]
    assert backfill.incomplete_chunks(GROUP, planned, there, UNREVISED) == []
    assert backfill.incomplete_chunks(GROUP, planned, there, late) == [planned[1], planned[2]]
    revised = [m.model_copy(update={"revision": 1, "raw_state": late.state(GROUP, m.hour)}) for m in there[30:]]
    assert backfill.incomplete_chunks(GROUP, planned, [*there, *revised], late) == []


def test_the_newest_revision_of_an_hour_counts() -> None:
    planned = backfill.chunks(request(at(0), at(1)))
    old, new = manifest(at(0), 0, "another layout"), manifest(at(0), 1)
    assert backfill.incomplete_chunks(GROUP, planned, [new, old], UNREVISED) == []
    old, new = manifest(at(0)), manifest(at(0), 1, "another layout")
    assert backfill.incomplete_chunks(GROUP, planned, [new, old], UNREVISED) == planned


def test_each_chunk_is_computed_once_for_all_groups_that_lack_it() -> None:
    days = backfill.chunks(request(at(0), at(72), chunk_days=1))
    planned = backfill.side_by_side({"a": days[1:], "b": days[:2], "c": []})
    assert [(chunk.start, chunk.groups) for chunk in planned] == [
        (at(0), ("b",)),
        (at(24), ("a", "b")),
        (at(48), ("a",)),
    ]
