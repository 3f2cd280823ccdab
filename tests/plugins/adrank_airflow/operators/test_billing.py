"""Billing as tasks see it: waited for, refused loudly, and handed to jobs as it was known at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from adrank.contracts import lake as layout
from adrank.contracts import timestamps
from adrank.contracts.manifests import BillingManifest, DataFile, RawManifest
from adrank.contracts.settings import Settings, Training
from adrank_airflow.errors import DeadlineError, ExportQuarantinedError
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.hooks.model_registry import ModelRegistryHook
from adrank_airflow.operators.billing import RequireBilledDayOperator
from adrank_airflow.operators.training.inputs import PlanTrainingInputsOperator
from adrank_airflow.sensors.lake import BillingExportSensor
from tests.plugins.conftest import REGION

DAY = datetime(2026, 3, 1, tzinfo=UTC)
KEY = "inbox/billing/dt=2026-03-01/control.json"


@pytest.fixture
def hook(lake: Any, settings: Settings) -> LakeHook:
    return LakeHook(settings.lake.bucket, settings.airflow.aws_conn_id, REGION)


def land(hook: LakeHook, day: datetime, revision: int, landed_at: datetime) -> None:
    manifest = BillingManifest(
        day=day,
        revision=revision,
        landed_at=landed_at,
        currency="EUR",
        total="1",
        file=DataFile(name=f"part-{revision}.csv", rows=1),
    )
    for key in (layout.raw_billing_revision(day, revision), layout.raw_billing_manifest(day)):
        hook.write_json(key, json.loads(manifest.model_dump_json()))


def files(day: datetime, revision: int) -> list[str]:
    return [layout.raw_billing_revision(day, revision), f"{layout.raw_billing(day)}part-{revision}.csv"]


class TestBillingFiles:
    def test_are_those_of_every_landed_day_from_the_start_on(self, hook: LakeHook) -> None:
        for n in (-1, 0, 2):
            day = DAY + n * timestamps.DAY
            land(hook, day, 0, day + timestamps.DAY)
        found = hook.billing_files(DAY + timedelta(hours=5), DAY + 4 * timestamps.DAY)
        assert found == files(DAY, 0) + files(DAY + 2 * timestamps.DAY, 0)

    def test_leave_out_what_had_not_landed(self, hook: LakeHook) -> None:
        land(hook, DAY, 0, DAY + 2 * timestamps.DAY)
        assert hook.billing_files(DAY, DAY + 2 * timestamps.DAY - timedelta(seconds=1)) == []

    def test_are_of_the_revision_that_was_known_then(self, hook: LakeHook) -> None:
        for revision in range(3):
            land(hook, DAY, revision, DAY + (2 + revision) * timestamps.DAY)
        for days, revision in ((2, 0), (3, 1), (4, 2), (9, 2)):
            assert hook.billing_files(DAY, DAY + days * timestamps.DAY) == files(DAY, revision)


class TestTheSensor:
    def test_goes_on_when_the_control_total_is_there(self, hook: LakeHook, settings: Settings, context: Any) -> None:
        hook.write_json(KEY, {})
        BillingExportSensor(task_id="wait", settings=settings, day=DAY.isoformat()).execute(context)

    def test_waits_as_long_as_a_night_may_wait_from_the_start_of_the_run(
        self, hook: LakeHook, settings: Settings, context: Any
    ) -> None:
        sensor = BillingExportSensor(task_id="wait", settings=settings, day=DAY.isoformat())
        with pytest.raises(TaskDeferred) as deferred:
            sensor.execute(context)
        trigger: Any = deferred.value.trigger
        assert trigger.keys == [KEY]
        assert trigger.deadline == (context["dag_run"].start_date + settings.billing.export_timeout).isoformat()
        with pytest.raises(DeadlineError, match=KEY):
            sensor.finish(context, {"status": "deadline", "missing": [KEY]})


def verdict(**changes: Any) -> dict[str, Any]:
    landed = {"outcome": "landed", "key": "raw/x.csv", "reason": "", "revision": 0, "rows": 3, "total": "1.00"}
    return {**landed, "currency": "EUR", **changes}


class TestTheVerdict:
    @pytest.fixture
    def task(self, settings: Settings) -> RequireBilledDayOperator:
        return RequireBilledDayOperator(task_id="require", settings=settings, day=DAY.isoformat())

    def test_of_a_landed_export_passes_its_figures_on(
        self, hook: LakeHook, task: RequireBilledDayOperator, context: Any
    ) -> None:
        hook.write_json("verdicts/billing/dt=2026-03-01/verdict.json", verdict())
        told = task.execute(context)
        assert (told["outcome"], told["revision"], told["total"]) == ("landed", 0, "1.00")

    @pytest.mark.parametrize(("revision", "kept"), [(None, "nothing of that day"), (1, "revision 1")])
    def test_of_a_quarantined_export_fails_for_good_and_says_why(
        self, hook: LakeHook, task: RequireBilledDayOperator, context: Any, revision: int | None, kept: str
    ) -> None:
        refused = verdict(outcome="quarantined", key="quarantine/x/", reason="export.csv: row 3: no", revision=revision)
        hook.write_json("verdicts/billing/dt=2026-03-01/verdict.json", refused)
        with pytest.raises(ExportQuarantinedError, match=f"row 3: no; quarantined at s3://.*/quarantine/x/; .* {kept}"):
            task.execute(context)

    def test_of_quarantine_is_not_retried(self) -> None:
        assert issubclass(ExportQuarantinedError, AirflowFailException)


def test_a_training_run_is_handed_the_billing_of_its_window_or_none(
    hook: LakeHook, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LakeHook, "feature_manifests", lambda self, group, start, end: [])
    monkeypatch.setattr(ModelRegistryHook, "by_alias", lambda self, alias: None)
    monkeypatch.setattr(LakeHook, "write_input_manifest", lambda self, key, keys: ",".join(keys))
    raw = RawManifest(hour=DAY, revision_time=DAY, watermark=DAY, rows=1, files=(DataFile(name="p", rows=1),))
    hook.write_json(layout.raw_events_manifest(DAY), json.loads(raw.model_dump_json()))
    as_of = (DAY + timedelta(days=2, hours=6)).isoformat()
    plan = PlanTrainingInputsOperator(task_id="plan", settings=Settings(training=Training(window_days=3)), as_of=as_of)
    assert plan.execute(context)["billing"] == ""
    land(hook, DAY, 0, DAY + timestamps.DAY + timedelta(hours=3))
    land(hook, DAY + timestamps.DAY, 0, DAY + 2 * timestamps.DAY + timedelta(hours=3))
    assert plan.execute(context)["billing"].split(",") == files(DAY, 0) + files(DAY + timestamps.DAY, 0)
