"""The hour's command line says all that its step does, and every part of it is a task that ends as the part did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from adrank.contracts import lake as layout
from adrank.contracts.manifests import FeatureRun, PartOutcome
from adrank.contracts.settings import Settings
from adrank_airflow.operators.features.hourly_features import (
    FeaturePartOperator,
    HourlyFeaturesOperator,
    ValidationPartOperator,
)
from tests.plugins.adrank_airflow.operators.features.links import RUN, link
from tests.plugins.deferral import deferral

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = layout.feature_run(HOUR, RUN)
CONTEXT: Any = {"run_id": RUN}


def outcome(name: str, state: Any) -> PartOutcome:
    return PartOutcome(name=name, state=state, seconds=1, detail=f"{name} says why")


def keep(lake: Any, settings: Settings, *parts: PartOutcome, revised_from: datetime | None = None) -> None:
    report = FeatureRun(hour=HOUR, run=RUN, revised_from=revised_from, parts=parts)
    lake.put_object(Bucket=settings.lake.bucket, Key=KEY, Body=report.model_dump_json().encode())


def kept(lake: Any, settings: Settings) -> FeatureRun:
    return FeatureRun.model_validate_json(lake.get_object(Bucket=settings.lake.bucket, Key=KEY)["Body"].read())


def part(settings: Settings, name: str = "push.redis") -> FeaturePartOperator:
    return FeaturePartOperator(task_id=name, settings=settings, at=HOUR.isoformat())


def step(settings: Settings) -> HourlyFeaturesOperator:
    return HourlyFeaturesOperator(task_id="run_features", settings=settings, at=HOUR.isoformat(), step_name="a step")


def test_a_part_that_did_its_work_says_what_it_did(lake: Any, settings: Settings) -> None:
    keep(lake, settings, outcome("push.redis", "success"), outcome("push.dynamodb", "failed"))
    assert part(settings).execute(CONTEXT) == "push.redis says why"


def test_a_part_that_failed_fails_for_good_with_its_reason(lake: Any, settings: Settings) -> None:
    keep(lake, settings, outcome("push.redis", "failed"))
    with pytest.raises(AirflowFailException, match=r"push\.redis says why"):
        part(settings).execute(CONTEXT)


def test_a_part_that_was_not_begun_is_skipped(lake: Any, settings: Settings) -> None:
    keep(lake, settings, outcome("push.redis", "skipped"))
    with pytest.raises(AirflowSkipException):
        part(settings).execute(CONTEXT)


@pytest.mark.parametrize("reported", [True, False])
def test_a_part_of_which_nothing_is_said_fails_so_a_dead_step_is_never_green(
    lake: Any, settings: Settings, reported: bool
) -> None:
    if reported:
        keep(lake, settings, outcome("validate", "success"))
    with pytest.raises(AirflowFailException, match=r"ended before push\.redis did"):
        part(settings).execute(CONTEXT)


def test_a_new_step_withdraws_an_earlier_report_but_not_what_is_to_validate(
    lake: Any, cluster: str, settings: Settings, context: Any
) -> None:
    keep(lake, settings, outcome("push.redis", "success"), revised_from=HOUR)
    deferral(step(settings).execute, {**context, **CONTEXT})
    assert kept(lake, settings) == FeatureRun(hour=HOUR, run=RUN, revised_from=HOUR)


def test_a_retry_that_attaches_leaves_the_live_steps_report_alone(
    lake: Any, cluster: str, settings: Settings, context: Any
) -> None:
    for _ in range(2):
        deferral(step(settings).execute, {**context, **CONTEXT})
        keep(lake, settings, outcome("validate", "success"))
    assert [found.name for found in kept(lake, settings).parts] == ["validate"]


def test_the_step_is_told_its_hour_and_takes_leases(settings: Settings) -> None:
    command = step(settings).command()
    assert "s3://adrank-lake/code/current/spark/hourly_features.py" in command
    assert command[command.index("--hour") + 1] == HOUR.isoformat()
    assert command[command.index("--late-lookback-hours") + 1] == "48"
    assert command[command.index("--queries") + 1] == "s3://adrank-lake/code/current/sql"
    assert command[command.index("--owner") + 1] == "a step"


def test_the_validations_part_leads_to_the_data_docs_of_its_run(settings: Settings) -> None:
    task = ValidationPartOperator(task_id="validate", settings=settings, at=HOUR.isoformat())
    assert "/validation/dt=2026-03-01/hr=12/runs/" in link(task)
