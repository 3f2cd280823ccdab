"""A training run reads what manifests name: every revision of the features, the log as it is, no stray file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel

from adrank.contracts import lake as layout
from adrank.contracts import registry, timestamps
from adrank.contracts.manifests import CdcManifest, DataFile, FeatureManifest, RawManifest
from adrank.contracts.settings import Settings, Training
from adrank_airflow.errors import NoInputError
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook
from adrank_airflow.operators.training.inputs import PlanTrainingInputsOperator
from tests.plugins.billing_days import files, land

AS_OF = datetime(2026, 3, 2, 1, tzinfo=UTC)
LATE_HOUR, HOUR = AS_OF - 2 * timestamps.HOUR, AS_OF - timestamps.HOUR
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
GROUP = registry.load().group("ad_engagement")


class Producer:
    def __init__(self, client: Any, bucket: str) -> None:
        self.client, self.bucket = client, bucket

    def put(self, key: str, document: BaseModel | None = None) -> None:
        body = document.model_dump_json().encode() if document else b""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def close(self, hour: datetime, *files: str) -> None:
        named = tuple(DataFile(name=name, rows=1) for name in files)
        manifest = RawManifest(hour=hour, revision_time=hour, watermark=hour, files=named, rows=len(files))
        self.put(layout.RAW_EVENTS.manifest(hour), manifest)

    def compute(self, hour: datetime, revision: int) -> None:
        manifest = FeatureManifest(
            group=GROUP.name,
            hour=hour,
            revision=revision,
            available_at=hour,
            fingerprint=GROUP.fingerprint,
            rows=1,
            content_digest="",
            files=(f"part-{revision}.parquet",),
        )
        self.put(layout.FEATURES(GROUP.name).manifest(hour, revision), manifest)

    def listed(self, uri: str) -> list[str]:
        key = uri.removeprefix(f"s3://{self.bucket}/")
        first, *keys = cast(list[Any], json.loads(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()))
        assert first == {"prefix": f"s3://{self.bucket}/"}
        return keys


@pytest.fixture
def producer(lake: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Producer:
    monkeypatch.setattr(ModelRegistryHook, "by_alias", lambda self, alias: None)
    return Producer(lake, settings.lake.bucket)


def plan(settings: Settings) -> dict[str, Any]:
    short = settings.model_copy(update={"training": Training(window_days=2)})
    planned = PlanTrainingInputsOperator(task_id="plan", settings=short, at=AS_OF.isoformat()).execute({})
    assert set(planned) == set(PlanTrainingInputsOperator.returns)
    return planned


def test_every_revision_of_the_features_is_read_and_files_without_a_manifest_are_not(
    producer: Producer, settings: Settings
) -> None:
    for hour in (LATE_HOUR, HOUR):
        producer.close(hour, "part-0.parquet")
        producer.compute(hour, 0)
    producer.compute(LATE_HOUR, 1)
    producer.put(layout.FEATURES(GROUP.name).revision(HOUR, 1) + "part-1.parquet")
    producer.put(layout.RAW_EVENTS.hour(HOUR) + "stray.parquet")
    planned = plan(settings)
    assert producer.listed(planned["features"]) == [
        layout.FEATURES(GROUP.name).revision(hour, revision) + name
        for hour, revision in ((LATE_HOUR, 0), (LATE_HOUR, 1), (HOUR, 0))
        for name in ("_MANIFEST.json", f"part-{revision}.parquet")
    ]
    assert producer.listed(planned["events"]) == [
        layout.RAW_EVENTS.hour(hour) + "part-0.parquet" for hour in (LATE_HOUR, HOUR)
    ]


def test_features_are_read_from_a_time_to_live_before_the_first_impression(
    producer: Producer, settings: Settings
) -> None:
    producer.close(HOUR, "part-0.parquet")
    oldest = HOUR - (GROUP.ttl_hours + 1) * timestamps.HOUR
    for hour in (oldest - timestamps.HOUR, oldest, HOUR):
        producer.compute(hour, 0)
    assert producer.listed(plan(settings)["features"]) == [
        layout.FEATURES(GROUP.name).revision(hour, 0) + name
        for hour in (oldest, HOUR)
        for name in ("_MANIFEST.json", "part-0.parquet")
    ]


def test_changes_of_the_catalogue_are_read_from_its_beginning_as_manifests_name_them(
    producer: Producer, settings: Settings
) -> None:
    producer.close(HOUR, "part-0.parquet")
    producer.compute(HOUR, 0)
    assert plan(settings)["ads"] == ""
    snapshot = AS_OF - timedelta(days=400)
    file = DataFile(name="part-0.jsonl", rows=1)
    manifest = CdcManifest(table="ads", hour=snapshot, watermark=snapshot, files=(file,), changes=1)
    producer.put(layout.RAW_CDC("ads").manifest(snapshot), manifest)
    producer.put(layout.RAW_CDC("ads").hour(snapshot) + "stray.jsonl")
    assert producer.listed(plan(settings)["ads"]) == [layout.RAW_CDC("ads").hour(snapshot) + "part-0.jsonl"]


def test_a_window_without_a_closed_hour_is_refused(producer: Producer, settings: Settings) -> None:
    producer.close(AS_OF + timestamps.HOUR, "part-0.parquet")
    with pytest.raises(NoInputError, match="no closed raw hour between"):
        plan(settings)


def test_the_lake_hook_names_revisions_of_the_hours_asked_for_across_midnight(
    producer: Producer, hook: LakeHook
) -> None:
    for hours in range(-2, 3):
        producer.compute(HOUR + hours * timestamps.HOUR, 0)
    producer.compute(HOUR, 1)
    found = hook.feature_manifests(GROUP, HOUR - timestamps.HOUR, HOUR + 2 * timestamps.HOUR)
    assert [(m.hour - HOUR, m.revision) for m in found] == [
        (-timestamps.HOUR, 0),
        (timedelta(0), 0),
        (timedelta(0), 1),
        (timestamps.HOUR, 0),
    ]


def test_a_training_run_is_handed_the_billing_of_its_window_or_none(
    hook: LakeHook, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LakeHook, "feature_manifests", lambda self, group, start, end: [])
    monkeypatch.setattr(ModelRegistryHook, "by_alias", lambda self, alias: None)
    monkeypatch.setattr(LakeHook, "write_input_manifest", lambda self, key, keys: ",".join(keys))
    raw = RawManifest(
        hour=MIDNIGHT, revision_time=MIDNIGHT, watermark=MIDNIGHT, rows=1, files=(DataFile(name="p", rows=1),)
    )
    hook.write_json(layout.RAW_EVENTS.manifest(MIDNIGHT), json.loads(raw.model_dump_json()))
    as_of = (MIDNIGHT + timedelta(days=2, hours=6)).isoformat()
    plan = PlanTrainingInputsOperator(task_id="plan", settings=Settings(training=Training(window_days=3)), at=as_of)
    assert plan.execute(context)["billing"] == ""
    land(hook, MIDNIGHT, 0, MIDNIGHT + timestamps.DAY + timedelta(hours=3))
    land(hook, MIDNIGHT + timestamps.DAY, 0, MIDNIGHT + 2 * timestamps.DAY + timedelta(hours=3))
    assert plan.execute(context)["billing"].split(",") == files(MIDNIGHT, 0) + files(MIDNIGHT + timestamps.DAY, 0)
