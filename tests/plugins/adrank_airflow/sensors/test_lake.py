"""An hour is ready when events and change data of it are whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adrank.contracts import registry
from adrank.contracts.settings import Settings
from adrank_airflow.errors import DeadlineError
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.sensors.lake import BillingExportSensor, RawHourSensor, WindowsReadySensor
from tests.plugins.deferral import deferral

PARTITION = "dt=2026-03-01/hr=11/_MANIFEST.json"
KEYS = [f"raw/{source}/{PARTITION}" for source in ("events", "cdc/ads", "cdc/sellers")]

DAY = datetime(2026, 3, 1, tzinfo=UTC)
KEY = "inbox/billing/dt=2026-03-01/control.json"


def sensor(settings: Settings) -> RawHourSensor:
    return RawHourSensor(task_id="wait_for_raw_hour", settings=settings, at="2026-03-01T11:00:00+00:00")


def land(lake: Any, settings: Settings, keys: list[str]) -> None:
    for key in keys:
        lake.put_object(Bucket=settings.lake.bucket, Key=key, Body=b"{}")


def test_it_goes_on_once_all_three_manifests_are_there(lake: Any, settings: Settings, context: Any) -> None:
    land(lake, settings, KEYS)
    assert sensor(settings).poke(context)
    sensor(settings).execute(context)


@pytest.mark.parametrize("missing", KEYS)
def test_it_waits_for(missing: str, lake: Any, settings: Settings, context: Any) -> None:
    land(lake, settings, [key for key in KEYS if key != missing])
    assert not sensor(settings).poke(context)
    assert deferral(sensor(settings).execute, context).trigger.keys == KEYS


def test_at_the_deadline_it_names_what_is_missing(settings: Settings, context: Any) -> None:
    with pytest.raises(DeadlineError, match=f"s3://{settings.lake.bucket}/{KEYS[1]}"):
        sensor(settings).finish(context, {"status": "deadline", "missing": [KEYS[1]]})


def test_a_days_windows_are_those_of_its_last_hour_of_every_group_that_counts(settings: Settings) -> None:
    night = WindowsReadySensor(task_id="wait_for_windows", settings=settings, at="2026-03-01T00:00:00+00:00")
    counting = [group.name for group in registry.load().groups if group.aggregation]
    assert night.keys() == [f"windows/{name}/dt=2026-03-01/hr=23/_MANIFEST.json" for name in counting]


class TestTheSensorOfABillingExport:
    def test_goes_on_when_the_control_total_is_there(self, hook: LakeHook, settings: Settings, context: Any) -> None:
        hook.write_json(KEY, {})
        BillingExportSensor(task_id="wait", settings=settings, at=DAY.isoformat()).execute(context)

    def test_waits_as_long_as_a_night_may_wait_from_the_start_of_the_run(
        self, hook: LakeHook, settings: Settings, context: Any
    ) -> None:
        sensor = BillingExportSensor(task_id="wait", settings=settings, at=DAY.isoformat())
        trigger: Any = deferral(sensor.execute, context).trigger
        assert trigger.keys == [KEY]
        assert trigger.deadline == (context["dag_run"].start_date + settings.billing.export_timeout).isoformat()
        with pytest.raises(DeadlineError, match=KEY):
            sensor.finish(context, {"status": "deadline", "missing": [KEY]})
