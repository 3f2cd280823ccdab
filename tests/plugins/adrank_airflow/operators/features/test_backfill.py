"""A backfill's plan is what the form asks for less what the lake has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from adrank.contracts import lake as layout
from adrank.contracts import registry, timestamps
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.settings import Settings
from adrank_airflow.operators.features.backfill import PlanChunksOperator

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
GROUP = registry.load().groups[0]
FORM = {
    "start": "2026-03-01T00:00:00+00:00",
    "end": "2026-03-03T06:00:00+00:00",
    "groups": [GROUP.name],
    "engine": "emr",
    "chunk_days": 1,
    "recompute": False,
}


def compute(lake: Any, settings: Settings, hours: range) -> None:
    for hour in (FIRST + n * timestamps.HOUR for n in hours):
        manifest = FeatureManifest(
            group=GROUP.name,
            hour=hour,
            available_at=hour + timestamps.HOUR,
            fingerprint=GROUP.fingerprint,
            rows=0,
            content_digest="",
            files=(),
        )
        key = layout.FEATURES(GROUP.name).manifest(hour)
        lake.put_object(Bucket=settings.lake.bucket, Key=key, Body=manifest.model_dump_json().encode())


def plan(settings: Settings, **form: Any) -> list[dict[str, Any]]:
    task = PlanChunksOperator(task_id="plan", settings=settings)
    return task.execute({"params": {**FORM, **form}})


def test_an_empty_lake_lacks_every_chunk(lake: Any, settings: Settings) -> None:
    assert plan(settings) == [
        {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00", "groups": [GROUP.name]},
        {"start": "2026-03-02T00:00:00+00:00", "end": "2026-03-03T00:00:00+00:00", "groups": [GROUP.name]},
        {"start": "2026-03-03T00:00:00+00:00", "end": "2026-03-03T06:00:00+00:00", "groups": [GROUP.name]},
    ]


def test_a_backfill_that_broke_off_goes_on_where_it_was(lake: Any, settings: Settings) -> None:
    compute(lake, settings, range(30))
    assert [chunk["start"][:10] for chunk in plan(settings)] == ["2026-03-02", "2026-03-03"]
    compute(lake, settings, range(30, 54))
    assert plan(settings) == []


def test_what_late_events_outdated_is_computed_again(lake: Any, settings: Settings) -> None:
    compute(lake, settings, range(54))
    hour = FIRST - 24 * timestamps.HOUR  # reaches into the range for three days
    raw = RawManifest(hour=hour, revision=1, revision_time=FIRST, watermark=FIRST, rows=0)
    key = layout.RAW_EVENTS.manifest(hour)
    lake.put_object(Bucket=settings.lake.bucket, Key=key, Body=raw.model_dump_json().encode())
    assert [chunk["start"][:10] for chunk in plan(settings)] == ["2026-03-01", "2026-03-02", "2026-03-03"]


def test_recompute_leaves_nothing_out(lake: Any, settings: Settings) -> None:
    compute(lake, settings, range(54))
    assert len(plan(settings, recompute=True)) == 3


def test_groups_that_lack_a_chunk_are_computed_with_it_and_no_others(lake: Any, settings: Settings) -> None:
    compute(lake, settings, range(30))
    other, third, *_ = (group.name for group in registry.load().groups[1:])
    planned = {chunk["start"][:10]: chunk["groups"] for chunk in plan(settings, groups=[GROUP.name, other])}
    assert planned == {
        "2026-03-01": [other],
        "2026-03-02": [GROUP.name, other],
        "2026-03-03": [GROUP.name, other],
    }, f"{third} was not asked for"


def test_a_wrong_form_fails_for_good_and_says_why(settings: Settings) -> None:
    with pytest.raises(AirflowFailException, match="no whole hour"):
        plan(settings, end=FORM["start"])
