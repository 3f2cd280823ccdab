"""Late events are found by what features were computed from; where nothing is late, nothing is revised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped

from adrank.contracts import lake as layout
from adrank.contracts import registry
from adrank.contracts.manifests import FeatureManifest, RawManifest
from adrank.contracts.settings import Events, Settings
from adrank.decisions.lateness import RawLog
from adrank_airflow.operators.late_hours import FindLateHoursOperator, range_of, since

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
ENGAGEMENT = registry.load().group("ad_engagement")
GROUPS = ("ad_engagement", "seller_stats")


def at(hours: int) -> datetime:
    return FIRST + hours * layout.HOUR


def raw(hour: datetime, revision: int = 0) -> RawManifest:
    return RawManifest(hour=hour, revision=revision, revision_time=hour + layout.HOUR, watermark=hour, rows=0)


def computed(group: str, hour: datetime, log: RawLog, revision: int = 0) -> FeatureManifest:
    return FeatureManifest(
        group=group,
        hour=hour,
        revision=revision,
        available_at=hour + layout.HOUR,
        fingerprint=registry.load().group(group).fingerprint,
        rows=0,
        content_digest="",
        files=(f"part-{revision}.parquet",),
        raw_state=log.state(registry.load().group(group), hour),
    )


class Bucket:
    """The lake as the archiver and the feature steps fill it."""

    def __init__(self, client: Any, bucket: str) -> None:
        self.client, self.bucket = client, bucket
        self.raw: dict[datetime, RawManifest] = {}

    def close(self, hours: range, revision: int = 0) -> None:
        for hour in map(at, hours):
            self.raw[hour] = raw(hour, revision)
            self._put(layout.raw_events_manifest(hour), self.raw[hour])

    def compute(self, group: str, hours: range, revision: int = 0) -> None:
        for hour in map(at, hours):
            manifest = computed(group, hour, RawLog(self.raw), revision)
            self._put(layout.features_manifest(group, hour, revision), manifest)

    def _put(self, key: str, document: Any) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=document.model_dump_json().encode())


@pytest.fixture
def bucket(lake: Any, settings: Settings) -> Bucket:
    return Bucket(lake, settings.lake.bucket)


def operator(settings: Settings, hour: datetime) -> FindLateHoursOperator:
    with DAG(dag_id="x", schedule=None):
        task = FindLateHoursOperator(
            task_id="find_late_hours",
            settings=settings,
            hour=hour.isoformat(),
            revisions={group: f"revise_{group}" for group in GROUPS},
        )
        task >> [EmptyOperator(task_id=f"revise_{group}") for group in GROUPS]
    return task


class Run:
    """A task instance that remembers what was pushed."""

    map_index = -1

    def __init__(self, task: Any) -> None:
        self.task = task
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def execute(self) -> tuple[Any, list[str]]:
        """(what was late, tasks that were skipped)."""
        try:
            self.task.execute({"ti": self})
        except DownstreamTasksSkipped as skipped:
            return self.pushed.get("late"), sorted(task for task, _ in skipped.tasks)
        return self.pushed.get("late"), []


def test_where_nothing_is_late_every_revision_is_skipped(bucket: Bucket, settings: Settings) -> None:
    bucket.close(range(6))
    for group in GROUPS:
        bucket.compute(group, range(5))
    assert Run(operator(settings, at(5))).execute() == (None, ["revise_ad_engagement", "revise_seller_stats"])


def test_hours_from_the_late_one_on_are_late_up_to_the_runs_own(bucket: Bucket, settings: Settings) -> None:
    bucket.close(range(6))
    for group in GROUPS:
        bucket.compute(group, range(5))
    bucket.close(range(2, 3), revision=1)
    late, skipped = Run(operator(settings, at(5))).execute()
    span = {"start": at(2).isoformat(), "end": at(5).isoformat()}
    assert late == {"since": at(2).isoformat(), "groups": dict.fromkeys(GROUPS, span)}
    assert skipped == []


def test_a_group_that_was_revised_already_is_skipped(bucket: Bucket, settings: Settings) -> None:
    bucket.close(range(4))
    for group in GROUPS:
        bucket.compute(group, range(4))
    bucket.close(range(1, 2), revision=1)
    bucket.compute("seller_stats", range(1, 4), revision=1)
    late, skipped = Run(operator(settings, at(4))).execute()
    assert list(late["groups"]) == ["ad_engagement"]
    assert skipped == ["revise_seller_stats"]


def test_hours_that_were_never_computed_are_not_late(bucket: Bucket, settings: Settings) -> None:
    bucket.close(range(4), revision=1)
    assert Run(operator(settings, at(4))).execute()[0] is None


def test_it_looks_no_further_back_than_a_late_event_may_come(bucket: Bucket, settings: Settings) -> None:
    bucket.close(range(8))
    bucket.compute("ad_engagement", range(7))
    bucket.close(range(1), revision=1)
    short = settings.model_copy(update={"events": Events(late_lookback=timedelta(hours=2))})
    late, _ = Run(operator(short, at(7))).execute()
    assert late["groups"]["ad_engagement"] == {"start": at(5).isoformat(), "end": at(7).isoformat()}


def test_the_steps_are_told_the_ranges_that_were_found() -> None:
    span = {"start": "S", "end": "E"}
    late = {"since": "S", "groups": {"ad_engagement": span}}

    def rendered(template: str, pushed: Any) -> str:
        ti = SimpleNamespace(xcom_pull=lambda task_ids, key: pushed)
        return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(ti=ti, now="NOW")

    assert [rendered(part, late) for part in range_of("find_late_hours", "ad_engagement")] == [
        "--start",
        "S",
        "--end",
        "E",
    ]
    assert rendered(since("find_late_hours", otherwise="{{ now }}"), late) == "S"
    assert rendered(since("find_late_hours", otherwise="{{ now }}"), None) == "NOW"
