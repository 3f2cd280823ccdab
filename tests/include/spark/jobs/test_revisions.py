"""Late events give exactly the partitions that they touch a new revision, and nothing that training saw changes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from adrank.contracts import lake, registry, timestamps
from adrank.contracts.timestamps import HOUR
from adrank.decisions import lateness
from adrank.decisions.lateness import RawLog
from adrank.storage import leases
from adrank.storage.leases import LeaseLostError
from spark.jobs.compute_features import FeatureQueries
from spark.lake import feature_partitions, raw_events
from spark.lake.files import LakeFiles
from tests.include.spark.jobs.steps import manifest, rows, run
from tests.support.spark_lake import BUCKET, TestLake, at, event

pytestmark = pytest.mark.spark
GROUP = "ad_engagement"


def landed(raw_lake: TestLake, hours: int) -> None:
    for hour in range(hours):
        raw_lake.land(at(hour), [event(f"i{hour}", "impression", at(hour), "a")])


def revise(start: datetime, end: datetime) -> list[datetime]:
    """Compute the hours of the range again that late events outdated; returns them."""
    spark, group = SparkSession.active(), registry.load().group(GROUP)
    spark.catalog.clearCache()
    files = LakeFiles(spark, BUCKET)
    raws = raw_events.closed_hours(files, lateness.horizon_start(start - HOUR), end)
    queries = FeatureQueries.of(files, f"s3://{BUCKET}/code/sql", raws, [group], ())
    if late := queries.outdated(group, timestamps.hours(start, end)):
        with leases.hold(bucket=BUCKET, group=GROUP, days=late, owner="step") as lease:
            queries.compute(spark, group, late, lease)
    return late


def revisions(raw_lake: TestLake, hour: datetime) -> list[str]:
    return sorted(path.name for path in raw_lake.path(lake.FEATURES(GROUP).hour(hour)).iterdir())


def content(raw_lake: TestLake, prefix: str) -> dict[str, str]:
    """Every file below a prefix, and the digest of its bytes."""
    root = raw_lake.path(prefix)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_late_file_revises_exactly_the_partitions_that_it_touches(raw_lake: TestLake, spark: SparkSession) -> None:
    landed(raw_lake, 4)
    run(raw_lake, GROUP, at(0), at(4))
    before = content(raw_lake, f"features/{GROUP}/")
    raw_lake.late(at(2), [event("late", "impression", at(2, 30), "b")], revision_time=at(3, 20))
    assert revise(at(0), at(4)) == [at(2), at(3)]

    assert [revisions(raw_lake, at(hour)) for hour in range(4)] == [["rev=000"]] * 2 + [["rev=000", "rev=001"]] * 2
    after = content(raw_lake, f"features/{GROUP}/")
    assert after.items() >= before.items(), "what training has seen is untouched"
    assert set(rows(raw_lake, GROUP, at(2))) == {"a"}
    revised = rows(raw_lake, GROUP, at(2), 1)
    assert set(revised) == {"a", "b"}
    assert {row["available_at"] for row in revised.values()} == {at(3, 30)}, "when the log had it, and the lag"
    assert manifest(raw_lake, GROUP, at(2), 1).available_at == at(3, 30)
    assert manifest(raw_lake, GROUP, at(3), 1).available_at == at(4, 10), "not before the hour had ended"

    assert revise(at(0), at(4)) == []
    assert content(raw_lake, f"features/{GROUP}/") == after, "nothing is late any more"

    revised_manifest = manifest(raw_lake, GROUP, at(3), 1)
    run(raw_lake, GROUP, at(3), at(4))
    again = manifest(raw_lake, GROUP, at(3), 1)
    assert again.model_copy(update={"files": revised_manifest.files}) == revised_manifest
    assert revisions(raw_lake, at(3)) == ["rev=000", "rev=001"]
    assert (
        content(raw_lake, lake.FEATURES(GROUP).revision(at(3), 0)).items()
        <= {name.removeprefix("dt=2026-03-01/hr=03/rev=000/"): digest for name, digest in before.items()}.items()
    )


def test_running_a_late_hour_normally_makes_a_revision_too(raw_lake: TestLake, spark: SparkSession) -> None:
    landed(raw_lake, 1)
    run(raw_lake, GROUP, at(0), at(1))
    raw_lake.late(at(0), [event("late", "impression", at(0), "a")], revision_time=at(4))
    run(raw_lake, GROUP, at(0), at(1))
    assert [rows(raw_lake, GROUP, at(0), n)["a"]["impressions_7d"] for n in range(2)] == [1, 2]
    assert [manifest(raw_lake, GROUP, at(0), n).available_at for n in range(2)] == [at(1, 10), at(4, 10)]


def test_late_rows_that_change_nothing_make_no_revision_and_are_not_late_for_ever(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    landed(raw_lake, 1)
    run(raw_lake, GROUP, at(0), at(1))
    before = manifest(raw_lake, GROUP, at(0))
    raw_lake.late(at(0), [event("i0", "impression", at(0), "a")], revision_time=at(7))
    assert revise(at(0), at(1)) == [at(0)]
    assert revisions(raw_lake, at(0)) == ["rev=000"]
    after = manifest(raw_lake, GROUP, at(0))
    assert after == before.model_copy(update={"raw_state": after.raw_state})
    assert after.raw_state != before.raw_state
    assert revise(at(0), at(1)) == []


def test_an_hour_first_computed_after_its_late_events_is_visible_only_after_them(
    raw_lake: TestLake, spark: SparkSession
) -> None:
    landed(raw_lake, 1)
    raw_lake.late(at(0), [event("late", "impression", at(0), "b")], revision_time=at(9))
    assert revise(at(0), at(1)) == []
    assert not raw_lake.path(f"features/{GROUP}").exists(), "an hour that nobody has computed is not revised"
    run(raw_lake, GROUP, at(0), at(1))
    assert revisions(raw_lake, at(0)) == ["rev=000"]
    assert manifest(raw_lake, GROUP, at(0)).available_at == at(9, 10)


def test_another_layout_begins_again_at_revision_0(raw_lake: TestLake, spark: SparkSession) -> None:
    landed(raw_lake, 1)
    run(raw_lake, GROUP, at(0), at(1))
    shutil.copytree(
        raw_lake.path(lake.FEATURES(GROUP).revision(at(0), 0)), raw_lake.path(lake.FEATURES(GROUP).revision(at(0), 1))
    )
    other = manifest(raw_lake, GROUP, at(0)).model_copy(update={"revision": 1, "fingerprint": "0" * 64})
    raw_lake.path(lake.FEATURES(GROUP).manifest(at(0), 1)).write_text(other.model_dump_json())
    run(raw_lake, GROUP, at(0), at(1))
    assert revisions(raw_lake, at(0)) == ["rev=000"], "nothing can read the old ones any more"
    assert manifest(raw_lake, GROUP, at(0)).fingerprint == registry.load().group(GROUP).fingerprint


@pytest.fixture
def others() -> Iterator[ExitStack]:
    """Ends what took leases over, after their former holder."""
    with ExitStack() as stack:
        yield stack


def take_over(others: ExitStack) -> None:
    others.enter_context(
        leases.hold(bucket=BUCKET, group=GROUP, days=[at(0)], owner="step", wait=timedelta(seconds=0.1))
    )


def write(spark: SparkSession, lease: leases.Lease) -> None:
    """Other rows of the first hour: none."""
    group, files = registry.load().group(GROUP), LakeFiles(spark, BUCKET)
    columns = ", ".join(f"{name} float" for name in group.names)
    features: DataFrame = spark.createDataFrame([], f"hour timestamp, entity_id string, {columns}")
    log = RawLog.of(raw_events.closed_hours(files, at(0), at(1)))
    feature_partitions.write(features, files, group, [at(0)], log, lease)


def test_who_lost_the_lease_touches_nothing(raw_lake: TestLake, spark: SparkSession, others: ExitStack) -> None:
    landed(raw_lake, 1)
    run(raw_lake, GROUP, at(0), at(1))
    before = content(raw_lake, f"features/{GROUP}/")
    with leases.hold(bucket=BUCKET, group=GROUP, days=[at(0)], owner="step") as lost:
        take_over(others)
        with pytest.raises(LeaseLostError):
            write(spark, lost)
    assert content(raw_lake, f"features/{GROUP}/") == before


def test_who_lost_the_lease_while_it_cleared_writes_no_data(
    raw_lake: TestLake, spark: SparkSession, others: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(raw_lake, 1)
    run(raw_lake, GROUP, at(0), at(1))
    theirs = raw_lake.path(lake.FEATURES(GROUP).revision(at(0), 0)) / "part-theirs.parquet"

    def withdraw(files: LakeFiles, manifest: str, folder: str) -> None:
        withdrawn(files, manifest, folder)
        take_over(others)
        theirs.parent.mkdir()
        theirs.touch()

    withdrawn = LakeFiles.withdraw
    monkeypatch.setattr(LakeFiles, "withdraw", withdraw)
    with leases.hold(bucket=BUCKET, group=GROUP, days=[at(0)], owner="step") as lost, pytest.raises(LeaseLostError):
        write(spark, lost)
    assert set(content(raw_lake, f"features/{GROUP}/")) == {"dt=2026-03-01/hr=00/rev=000/part-theirs.parquet"}
