"""Hours can be cleared, steps killed and workers lost: there is one result, and it is the same."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import redis

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.manifests import FeatureManifest, FeatureRun, RawManifest
from adrank.contracts.timestamps import HOUR, floor_hour
from adrank.storage.object_store import ObjectStore
from demo.runs.dag_runs import DagRun
from ingestion.landing import event_table, raw_events
from stack.airflow_client import AirflowClient
from stack.stall import ProgressWatch
from stack.supervisor import orphans
from tests.e2e.lived import Lived

pytestmark = [pytest.mark.verify, pytest.mark.e2e, pytest.mark.stack, pytest.mark.timeout(1800)]
HOURLY = "ranking_features_hourly"
STEP = "run_features"
#: Seconds without a change of any task; a lost worker is noticed in half of them.
_STANDSTILL = 600


def revisions(lived: Lived, group: str, hour: datetime) -> list[FeatureManifest]:
    """Every revision of a partition, oldest first."""
    store = ObjectStore(lived.settings.lake.bucket, lived.client("s3"))
    keys = [key for key in store.keys(lake.FEATURES(group).hour(hour)) if key.endswith(lake.MANIFEST)]
    return [FeatureManifest.model_validate_json(store.get(key)) for key in sorted(keys)]


def digests(lived: Lived, hour: datetime) -> dict[str, str]:
    store = ObjectStore(lived.settings.lake.bucket, lived.client("s3"))
    found = {}
    for group in registry.load().groups:
        manifest = revisions(lived, group.name, hour)[-1]
        keys = store.keys(lake.FEATURES(group.name).revision(hour, manifest.revision))
        data = [key for key in keys if key.endswith(".parquet")]
        assert len(data) == len(manifest.files), "no file beside those that the manifest names"
        found[group.name] = f"{manifest.rows} {manifest.content_digest}"
    return found


def online(lived: Lived) -> dict[bytes, bytes]:
    client = redis.Redis(host="127.0.0.1", port=lived.stack.ports.redis)
    keys = sorted(client.scan_iter(match="f:*", count=5000))
    values = client.mget(keys)
    items = lived.client("dynamodb").get_paginator("scan").paginate(TableName=lived.settings.online.features_table)
    rows = {i["entity_id"]["S"].encode(): i["packed"]["B"] for page in items for i in page["Items"] if "packed" in i}
    return dict(zip(keys, values, strict=True)) | rows


def last_hour(lived: Lived) -> DagRun:
    return max((run for run in lived.airflow.runs(HOURLY) if run.state == "success"), key=lambda run: run.run_id)


def clear(lived: Lived, run: DagRun, tasks: list[str] | None = None) -> None:
    body = {"dag_run_id": run.run_id, "dry_run": False, "only_failed": False, "include_downstream": True}
    body |= {"task_ids": tasks} if tasks else {}
    AirflowClient(lived.stack).request("POST", f"/dags/{HOURLY}/clearTaskInstances", body)


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
    lived.airflow.unpause(HOURLY, ProgressWatch(_STANDSTILL, {}))
    clear(lived, run)
    try:
        meanwhile()
        tasks = lived.airflow.wait(HOURLY, run.run_id, ProgressWatch(_STANDSTILL, {}), lambda _: None)
    finally:
        lived.airflow.pause(HOURLY)
    return run, {task.task_id: task.try_number - before[task.task_id] for task in tasks}


def steps(lived: Lived, *states: str) -> list[dict[str, Any]]:
    emr = lived.client("emr")
    (cluster,) = emr.list_clusters()["Clusters"]
    arguments = {"StepStates": list(states)} if states else {}
    pages = emr.get_paginator("list_steps").paginate(ClusterId=cluster["Id"], **arguments)
    return [step for page in pages for step in page["Steps"] if STEP in step["Name"]]


def signal(lived: Lived, act: Callable[[psutil.Process], None], *each: str) -> int:
    """Do something to this stack's processes whose command line holds all of some words; returns how many."""
    done = 0
    for process in orphans.find(lived.stack):
        # One may end another; one may be gone already.
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if any(all(word in line for word in words.split("+")) for words in each):
                act(process)
                done += 1
    return done


def kill(lived: Lived, *each: str) -> int:
    return signal(lived, psutil.Process.kill, *each)


@pytest.fixture(autouse=True)
def every_hour_that_is_due_has_run(lived: Lived) -> None:
    """Who unpauses the DAG for a rerun also runs what became due, and would take that hour's steps for the rerun's."""

    def caught_up() -> bool:
        newest = last_hour(lived).logical_date
        return newest is not None and newest + HOUR >= floor_hour(datetime.now(UTC))

    if not caught_up():
        lived.airflow.unpause(HOURLY, ProgressWatch(_STANDSTILL, {}))
        try:
            wait_until(caught_up, 600)
        finally:
            lived.airflow.pause(HOURLY)


def test_rerunning_an_hour_leaves_the_same_content_and_the_same_online_values(lived: Lived) -> None:
    hour = last_hour(lived).logical_date
    assert hour is not None
    before = digests(lived, hour), online(lived)
    rerun(lived)
    assert (digests(lived, hour), online(lived)) == before
    assert len(before[1]) > 500


def test_a_step_killed_in_mid_run_is_submitted_again_for_what_is_missing(lived: Lived) -> None:
    hour = last_hour(lived).logical_date
    assert hour is not None
    before, submitted = digests(lived, hour), len(steps(lived))
    store = ObjectStore(lived.settings.lake.bucket, lived.client("s3"))
    for group in registry.load().groups:
        for key in list(store.keys(lake.FEATURES(group.name).hour(hour))):
            store.delete(key)
    whole: dict[str, tuple[str, ...]] = {}

    def some_are_whole() -> bool:
        for group in registry.load().groups:
            for manifest in revisions(lived, group.name, hour):
                whole[group.name] = manifest.files
        return bool(whole)

    def kill_the_step() -> None:
        wait_until(some_are_whole, 300)
        assert kill(lived, "hourly_features.py")
        some_are_whole()

    _, tries = rerun(lived, kill_the_step)
    assert tries[STEP] >= 2, "the killed step failed its try"
    assert len(steps(lived)) == submitted + 2
    assert digests(lived, hour) == before
    after = {group: revisions(lived, group, hour)[-1].files for group in whole}
    assert after == whole, "what the killed step had published was not computed twice"


def test_an_airflow_worker_killed_while_its_step_runs_attaches_to_that_step(lived: Lived) -> None:
    run = last_hour(lived)
    hour, last_hour_id = run.logical_date, run.run_id
    assert hour is not None
    before, submitted = digests(lived, hour), len(steps(lived))

    def state() -> str | None:
        tasks = lived.airflow.tasks(HOURLY, last_hour_id)
        return next(task.state for task in tasks if task.task_id == STEP)

    def kill_the_workers() -> None:
        wait_until(lambda: steps(lived, "PENDING", "RUNNING"), 120)
        assert kill(lived, "airflow worker", "airflow scheduler", "airflow triggerer") >= 2
        # A step that ends before the retry looks for it is rightly submitted again: this one waits for the retry.
        step = "hourly_features.py"
        wait_until(lambda: signal(lived, psutil.Process.suspend, step), 60)
        try:
            wait_until(lambda: state() == "deferred", 900)
        finally:
            signal(lived, psutil.Process.resume, step)

    rerun(lived, kill_the_workers)
    assert len(steps(lived)) == submitted + 1, "the retry attached"
    assert digests(lived, hour) == before


def land_late(lived: Lived, hour: datetime, revision_time: datetime) -> None:
    """One more impression of an hour that was closed and processed long ago."""
    store = ObjectStore(lived.settings.lake.bucket, lived.client("s3"))
    before = RawManifest.model_validate_json(store.get(lake.RAW_EVENTS.manifest(hour)))
    files = [store.get(lake.RAW_EVENTS.hour(hour) + file.name) for file in before.files]
    events = pa.concat_tables(pq.read_table(io.BytesIO(file)) for file in files)
    impression = events.filter(pc.equal(events["event_type"], "impression")).slice(0, 1)
    column = impression.schema.get_field_index("event_id")
    late = impression.set_column(column, "event_id", pa.array([f"late-{before.revision}"]))
    raw_events.land_hour(
        store,
        hour,
        pa.concat_tables([event_table.conform(events), event_table.conform(late)]),
        before.watermark,
        revision=before.revision + 1,
        revision_time=revision_time,
        late_rows=before.late_rows + 1,
        rejected_rows=before.rejected_rows,
    )


def revised_from(lived: Lived, run: DagRun) -> datetime | None:
    assert run.logical_date is not None
    store = ObjectStore(lived.settings.lake.bucket, lived.client("s3"))
    return FeatureRun.model_validate_json(store.get(lake.feature_run(run.logical_date, run.run_id))).revised_from


def test_late_events_revise_exactly_the_partitions_that_they_touch(lived: Lived) -> None:
    last = last_hour(lived).logical_date
    assert last is not None
    late_hour = last - 2 * HOUR
    partitions = [(g, h) for g in registry.load().groups for h in timestamps.hours(last - 4 * HOUR, last + HOUR)]

    def digests() -> dict[tuple[str, datetime], list[str]]:
        return {(g.name, h): [m.content_digest for m in revisions(lived, g.name, h)] for g, h in partitions}

    before = digests()
    land_late(lived, late_hour, revision_time=last + HOUR)
    run, _ = rerun(lived)
    assert revised_from(lived, run) == late_hour
    after = digests()
    for group, hour in partitions:
        old, new = before[group.name, hour], after[group.name, hour]
        touched = group.aggregation is not None and "impressions" in group.aggregation.measures and hour >= late_hour
        assert new[: len(old)] == old, "what training has seen stays"
        assert len(new) - len(old) == touched, f"{group.name} {hour}"
        if touched:
            newest = revisions(lived, group.name, hour)[-1]
            assert newest.available_at == last + HOUR + group.lag

    rerun(lived)
    assert digests() == after, "nothing is late any more"
