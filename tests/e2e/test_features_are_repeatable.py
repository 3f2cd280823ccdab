"""Hours can be cleared, steps killed and workers lost: there is one result, and it is the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psutil
import pytest
import redis

from adrank.contracts import lake, registry
from demo.airflow_client import DagRun
from stack import paths
from stack.airflow_client import AirflowClient
from tests.e2e.conftest import Lived

pytestmark = [pytest.mark.verify, pytest.mark.e2e, pytest.mark.stack, pytest.mark.timeout(1800)]
HOURLY = "ranking_features_hourly"
ENGAGEMENT = "compute.ad_engagement"


def digests(lived: Lived, hour: datetime) -> dict[str, str]:
    s3 = lived.client("s3")
    found = {}
    for group in registry.load().groups:
        key = lake.features_manifest(group.name, hour)
        body = s3.get_object(Bucket=lived.settings.lake.bucket, Key=key)["Body"].read()
        manifest = json.loads(body)
        data = [
            item["Key"]
            for item in s3.list_objects_v2(Bucket=lived.settings.lake.bucket, Prefix=lake.features(group.name, hour))[
                "Contents"
            ]
            if item["Key"].endswith(".parquet")
        ]
        assert len(data) == len(manifest["files"]), "no file beside those that the manifest names"
        found[group.name] = f"{manifest['rows']} {manifest['content_digest']}"
    return found


def online(lived: Lived) -> dict[bytes, bytes]:
    client = redis.Redis(host="127.0.0.1", port=lived.stack.ports.redis)
    keys = sorted(client.scan_iter(match="f:*", count=5000))
    values = client.mget(keys)
    items = lived.client("dynamodb").get_paginator("scan").paginate(TableName=lived.settings.online.features_table)
    rows = {i["entity_id"]["S"].encode(): i["packed"]["B"] for page in items for i in page["Items"]}
    return dict(zip(keys, values, strict=True)) | rows


def last_hour(lived: Lived) -> DagRun:
    return max((run for run in lived.airflow.runs(HOURLY) if run.state == "success"), key=lambda run: run.run_id)


def clear(lived: Lived, run: DagRun, tasks: list[str] | None = None) -> None:
    body = {"dag_run_id": run.run_id, "dry_run": False, "only_failed": False, "include_downstream": True}
    AirflowClient(lived.stack).post(f"/dags/{HOURLY}/clearTaskInstances", body | ({"task_ids": tasks} if tasks else {}))


def wait_until(condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return found


def rerun(lived: Lived, meanwhile: Callable[[], None] = lambda: None) -> tuple[DagRun, dict[str, int]]:
    """Clear the last hour, let something happen, and wait for its success; returns the tries of each task."""
    run = last_hour(lived)
    before = {task.task_id: task.try_number for task in lived.airflow.tasks(HOURLY, run.run_id)}
    lived.airflow.unpause(HOURLY)
    clear(lived, run)
    try:
        meanwhile()
        tasks = lived.airflow.wait(HOURLY, run.run_id, 600, lambda _: None)
    finally:
        lived.airflow.pause(HOURLY)
    return run, {task.task_id: task.try_number - before[task.task_id] for task in tasks}


def steps(lived: Lived, *states: str) -> list[dict[str, Any]]:
    emr = lived.client("emr")
    (cluster,) = emr.list_clusters()["Clusters"]
    arguments = {"StepStates": list(states)} if states else {}
    pages = emr.get_paginator("list_steps").paginate(ClusterId=cluster["Id"], **arguments)
    return [step for page in pages for step in page["Steps"] if ENGAGEMENT in step["Name"]]


def processes(words: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if words in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_clearing_and_rerunning_an_hour_leaves_the_same_content_and_the_same_online_values(lived: Lived) -> None:
    hour = last_hour(lived).logical_date
    assert hour is not None
    before = digests(lived, hour), online(lived)
    rerun(lived)
    assert (digests(lived, hour), online(lived)) == before
    assert len(before[1]) > 500


def test_a_step_killed_in_mid_run_is_submitted_again_and_leaves_one_result(lived: Lived) -> None:
    hour = last_hour(lived).logical_date
    assert hour is not None
    before, submitted = digests(lived, hour), len(steps(lived))

    def kill_the_step() -> None:
        wait_until(lambda: steps(lived, "RUNNING"), 120)
        victims = wait_until(lambda: processes("compute_features.py"), 60)
        for victim in victims:
            if "ad_engagement" in " ".join(victim.cmdline()):
                victim.kill()

    _, tries = rerun(lived, kill_the_step)
    assert tries[ENGAGEMENT] >= 2, "the killed step failed its try"
    assert len(steps(lived)) == submitted + 2
    assert digests(lived, hour) == before


def test_an_airflow_worker_killed_while_its_step_runs_attaches_to_that_step(lived: Lived) -> None:
    hour = last_hour(lived).logical_date
    assert hour is not None
    before, submitted = digests(lived, hour), len(steps(lived))

    def kill_the_workers() -> None:
        wait_until(lambda: steps(lived, "PENDING", "RUNNING"), 120)
        home = str(paths.airflow_home(lived.stack))
        for worker in processes("airflow worker") + processes("airflow scheduler") + processes("airflow triggerer"):
            if worker.is_running() and worker.environ().get("AIRFLOW_HOME") == home:
                worker.kill()

    rerun(lived, kill_the_workers)
    assert len(steps(lived)) == submitted + 1, "the retry attached"
    assert digests(lived, hour) == before
