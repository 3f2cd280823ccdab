"""The Spark provider's operator really submits: the published code, from and to ``s3://``, on a local master."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from adrank.contracts import lake, registry
from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.contracts.entry_points.features import CheckWindows, ComputeFeatures
from adrank.contracts.manifests import FeatureManifest
from adrank.contracts.settings import Settings
from adrank.storage.leases import LeaseRecord
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator
from deploy import publish
from localcloud.emr import spark_submit
from tests.local.localcloud.cloud import Cloud
from tests.support.spark_lake import FIRST, TestLake, at, event

pytestmark = [pytest.mark.verify, pytest.mark.spark, pytest.mark.stack, pytest.mark.timeout(900)]
GROUP = "ad_engagement"
HOURS = 25


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("spark-submit"))
    made.config.make_directories()
    made.start("object_store")
    try:
        publish.publish(made.s3, made.bucket, Settings().lake.code_prefix)
        log = TestLake(made.path(""))
        log.change("ads", at(0), "c", {"ad_id": "a", "seller_id": "s", "category": "c", "price": 1.0})
        for hour in range(HOURS):
            kind = "click" if hour % 3 else "impression"
            log.land(at(hour), [event(f"e{hour}", kind, at(hour, 1), "a")])
        yield made
    finally:
        made.stop()


@pytest.fixture
def target(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """What a worker is given: the connection, the target's configuration, AWS access."""
    spark_submit.write_defaults(cloud.config, tmp_path)
    monkeypatch.setenv("AIRFLOW_CONN_ADRANK_SPARK", json.dumps({"conn_type": "spark", "host": "local[1]"}))
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    for key, value in cloud.config.client_environment().items():
        monkeypatch.setenv(key, value)
    return cloud


def submit(entry_point: type[EntryPointArguments], values: dict[str, Any], **more: Any) -> None:
    task = SparkSubmitStepOperator(
        task_id=GROUP, settings=Settings(), entry_point=entry_point, values=values, name="backfill a run", **more
    )
    SparkSubmitStepOperator.execute.__wrapped__(task, {"ti": SimpleNamespace(try_number=1)})  # type: ignore[attr-defined]


def compute(start: datetime, end: datetime) -> None:
    hours = {"start": start.isoformat(), "end": end.isoformat(), "groups": [GROUP]}
    submit(ComputeFeatures, {}, hours=hours)


def test_chunks_computed_by_spark_submit_are_whole_and_their_windows_prove_right(target: Cloud) -> None:
    compute(at(0), at(HOURS - 1))
    compute(at(HOURS - 1), at(HOURS))
    for hour in map(at, range(HOURS)):
        text = target.path(lake.FEATURES(GROUP).manifest(hour)).read_text()
        manifest = FeatureManifest.model_validate_json(text)
        assert (manifest.rows, manifest.fingerprint) == (1, registry.load().group(GROUP).fingerprint)
    lease = LeaseRecord.model_validate_json(target.path(lake.lease(GROUP, at(HOURS - 1))).read_text())
    assert (lease.owner, lease.released) == ("backfill a run try 1", True)
    submit(CheckWindows, {"group": GROUP, "day": f"{FIRST:%Y-%m-%d}"})


def test_a_driver_that_fails_fails_the_task_with_its_own_words(target: Cloud) -> None:
    with pytest.raises(AirflowException, match="HourNotReadyError"):
        compute(at(HOURS), at(HOURS + 1))
