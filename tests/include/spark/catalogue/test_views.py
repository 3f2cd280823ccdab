"""Change data becomes history: each version true from its own change to the next, in the order of the log."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from adrank.contracts import lake
from spark.catalogue import change_data, views
from spark.lake.files import LakeFiles
from tests.support.spark_lake import BUCKET, TestLake, at

LOG = "adrank.7711377497355110251"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
DAY_END = at(24)
Version = tuple[float, datetime, datetime]


@pytest.fixture
def files(raw_lake: TestLake, spark: SparkSession) -> LakeFiles:
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return LakeFiles(spark, BUCKET)


def micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def ad(price: float | None, created: datetime | None = None, **columns: Any) -> dict[str, Any]:
    row = {"ad_id": "a", "seller_id": "s", "category": "c", "image_quality_score": 0.5, "updated_at": None}
    return {**row, "price": price, "created_at": None if created is None else micros(created), **columns}


def captured(
    op: str,
    moment: datetime,
    lsn: int,
    row: dict[str, Any] | None,
    log: str = LOG,
    committed: datetime | None = None,
) -> dict[str, Any]:
    """A change as the capture process lands it; ``committed`` alone, as a Connect cluster does."""
    change_time = {} if committed else {"change_us": micros(moment)}
    source = {"connector": "postgresql", "name": log, "table": "ads", "lsn": lsn, "ts_us": micros(committed or at(900))}
    images = {"before": row if op == "d" else None, "after": None if op == "d" else row}
    return {"op": op, "ts_ms": micros(moment) // 1000, **change_time, **images, "source": source}


def bulk(op: str, moment: datetime, lsn: int, row: dict[str, Any]) -> dict[str, Any]:
    """A change as history is landed in bulk: it has no log."""
    source = {"table": "ads", "lsn": lsn}
    return {"op": op, "ts_ms": micros(moment) // 1000, "before": None, "after": row, "source": source}


OTHER = "old.1"
CONNECT = ad(1) | {"created_at": "2026-02-27T00:00:00.123456Z", "price": 1}

#: name -> (the changes of one ad, its versions as price, from, to).
SCENARIOS: dict[str, tuple[list[dict[str, Any]], list[Version]]] = {
    "a version lasts until the next change and ends with the row's deletion": (
        [
            captured("c", at(0, 1), 10, ad(1)),
            captured("u", at(0, 2), 11, ad(2)),
            captured("d", at(1, 1), 12, ad(2)),
            captured("c", at(1, 30), 13, ad(3)),
        ],
        [(1, at(0, 1), at(0, 2)), (2, at(0, 2), at(1, 1)), (3, at(1, 30), FOREVER)],
    ),
    "changes of one moment count in the order of the log": (
        [captured("u", at(0, 5), lsn, ad(lsn)) for lsn in (102, 9, 101)] + [captured("c", at(0, 1), 2, ad(1))],
        [(1, at(0, 1), at(0, 5)), (102, at(0, 5), FOREVER)],
    ),
    "a change that dates itself before an earlier one still comes after it": (
        [captured("c", at(0, 9), 10, ad(1)), captured("u", at(0, 3), 11, ad(2))],
        [(2, at(0, 9), FOREVER)],
    ),
    "what is delivered twice is there once": (
        [
            captured("c", at(0, 1), 10, ad(1)),
            *[captured("u", at(0, 2), 11, ad(2))] * 2,
            *[captured("d", at(0, 3), 12, ad(2))] * 2,
        ],
        [(1, at(0, 1), at(0, 2)), (2, at(0, 2), at(0, 3))],
    ),
    "a row first met in a snapshot, nobody knows since when, is there from the beginning": (
        [captured("r", at(2), 10, ad(1)), captured("u", at(2, 1), 11, ad(2))],
        [(1, BEGINNING, at(2, 1)), (2, at(2, 1), FOREVER)],
    ),
    "a row first met in a snapshot is there from its creation": (
        [captured("r", at(2), 10, ad(1, at(-48)))],
        [(1, at(-48), FOREVER)],
    ),
    "a creation after the snapshot is none": (
        [captured("r", at(2), 10, ad(1, at(3)))],
        [(1, at(2), FOREVER)],
    ),
    "a snapshot of what is known changes nothing before it": (
        [
            bulk("c", at(0), 1, ad(1)),
            bulk("u", at(1), 900, ad(2)),
            captured("r", at(1), 10, ad(2)),
            captured("u", at(2), 11, ad(3)),
        ],
        [(1, at(0), at(1)), (2, at(1), at(2)), (3, at(2), FOREVER)],
    ),
    "positions of different logs are not compared": (
        [
            captured("c", at(0), 900, ad(1), OTHER),
            captured("u", at(1), 901, ad(2), OTHER),
            captured("u", at(2), 5, ad(3)),
        ],
        [(1, at(0), at(1)), (2, at(1), at(2)), (3, at(2), FOREVER)],
    ),
    "an envelope of a Connect cluster is read as it is": (
        [captured("c", at(5), 10, CONNECT, committed=at(0, 1))],
        [(1, at(0, 1), FOREVER)],
    ),
    "a change from the end of the asked time on is not known yet": (
        [captured("c", at(1), 10, ad(1)), captured("u", DAY_END, 11, ad(2))],
        [(1, at(1), FOREVER)],
    ),
}


@pytest.fixture(scope="module")
def found(lake_root: Path, spark: SparkSession) -> dict[str, list[Version]]:
    """The folded versions of every scenario's ad."""
    lake_of_all = TestLake(lake_root)
    shutil.rmtree(lake_root / "raw")
    for name, (changes, _) in SCENARIOS.items():
        images = [
            {side: change[side] and change[side] | {"ad_id": name} for side in ("before", "after")}
            for change in changes
        ]
        lake_of_all.changes("ads", at(0), [{**c, **both} for c, both in zip(changes, images, strict=True)])
    rows = views.history(spark, LakeFiles(spark, BUCKET), "ads", BEGINNING, DAY_END).selectExpr(
        "ad_id", "price", "unix_micros(valid_from) f", "unix_micros(valid_to) t", "unix_micros(created_at) created"
    )
    versions: dict[str, list[Version]] = {name: [] for name in SCENARIOS}
    for row in sorted(rows.collect(), key=lambda row: row.f):
        versions[row.ad_id].append((row.price, moment(row.f), moment(row.t)))
        if row.ad_id == "an envelope of a Connect cluster is read as it is":
            assert moment(row.created) == datetime(2026, 2, 27, 0, 0, 0, 123456, tzinfo=UTC)
    return versions


def moment(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


@pytest.mark.parametrize("name", SCENARIOS)
def test_history(found: dict[str, list[Version]], name: str) -> None:
    assert found[name] == SCENARIOS[name][1]


def test_a_file_that_no_manifest_names_is_no_part_of_history(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    path = raw_lake.changes("ads", at(0), [captured("c", at(0, 1), 10, ad(1))])
    (path.parent / "part-left-by-a-killed-process.jsonl").write_text('{"op":"u"')
    assert views.history(spark, files, "ads", BEGINNING, DAY_END).count() == 1


def test_a_truncated_table_is_empty_from_then_on(raw_lake: TestLake, spark: SparkSession, files: LakeFiles) -> None:
    rows = {name: {"seller_id": name, "created_at": None, "updated_at": None} for name in ("a", "b")}
    changes = [captured("c", at(0), 1, rows["a"]), captured("c", at(0), 2, rows["b"]), captured("t", at(0, 5), 3, None)]
    raw_lake.changes("sellers", at(0), [*changes, captured("c", at(0, 9), 4, rows["b"])])
    known = views.history(spark, files, "sellers", BEGINNING, DAY_END).selectExpr(
        "seller_id", "unix_micros(valid_from)", "unix_micros(valid_to)"
    )
    assert sorted((row[0], moment(row[1]), moment(row[2])) for row in known.collect()) == [
        ("a", at(0), at(0, 5)),
        ("b", at(0), at(0, 5)),
        ("b", at(0, 9), FOREVER),
    ]


@pytest.mark.parametrize("value", ["red", None], ids=["with values", "all null"])
def test_a_column_that_nobody_declared_is_refused_by_name(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles, value: str | None
) -> None:
    raw_lake.changes("ads", at(0), [captured("c", at(0), 1, ad(1)), captured("u", at(0), 2, ad(1, colour=value))])
    with pytest.raises(change_data.UnknownColumnError, match=r"hr=00/part-0\.jsonl: ads has a column colour"):
        views.history(spark, files, "ads", BEGINNING, DAY_END)
    assert "colour" not in views.history(spark, files, "ads", BEGINNING, DAY_END, ["ads.colour"]).columns
    with pytest.raises(change_data.UnknownColumnError):
        views.history(spark, files, "ads", BEGINNING, DAY_END, ["sellers.colour"])


def test_a_column_that_upstream_dropped_is_null(raw_lake: TestLake, spark: SparkSession, files: LakeFiles) -> None:
    row = ad(1)
    del row["image_quality_score"]
    raw_lake.changes("ads", at(0), [captured("c", at(0), 1, row)])
    (found,) = views.history(spark, files, "ads", BEGINNING, DAY_END).collect()
    assert found.image_quality_score is None


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("price", "12.50", r"ads\.price holds string, its history declares number"),
        ("seller_id", 7, r"ads\.seller_id holds bigint, its history declares text"),
        ("created_at", {"seconds": 1}, r"ads\.created_at holds struct<.*>, its history declares moment"),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles, column: str, value: Any, message: str
) -> None:
    raw_lake.changes("ads", at(0), [captured("c", at(0), 1, ad(1) | {column: value})])
    with pytest.raises(change_data.ColumnTypeError, match=message):
        views.history(spark, files, "ads", BEGINNING, DAY_END)


def test_a_column_whose_type_changed_is_refused_by_name(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    raw_lake.changes("ads", at(0), [captured("c", at(0), 1, ad(1)), captured("u", at(0), 2, ad(1) | {"price": "2"})])
    with pytest.raises(change_data.ColumnTypeError, match=r"ads\.price holds several types"):
        views.history(spark, files, "ads", BEGINNING, DAY_END)


def test_an_operation_that_is_none_on_rows_is_refused_by_name(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    raw_lake.changes("ads", at(0), [captured("m", at(0), 1, None)])
    with pytest.raises(change_data.UnknownOperationError, match=r"part-0\.jsonl: ads has operation m"):
        views.history(spark, files, "ads", BEGINNING, DAY_END)


def test_a_file_that_is_not_what_its_manifest_says_is_refused(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    kept = raw_lake.changes("ads", at(0), [captured("c", at(0), 1, ad(1)), captured("u", at(0), 2, ad(2))])
    lost = raw_lake.changes("ads", at(0), [captured("u", at(0), 3, ad(3))])
    kept.write_text(kept.read_text().splitlines()[0] + "\n")
    with pytest.raises(change_data.CdcFileTornError, match=r"part-0\.jsonl holds 1 changes, its manifest says 2"):
        views.history(spark, files, "ads", BEGINNING, DAY_END)
    lost.unlink()
    with pytest.raises(change_data.CdcFileTornError, match=r"part-1\.jsonl is missing"):
        views.history(spark, files, "ads", BEGINNING, DAY_END)


def test_an_hour_that_the_capture_process_has_not_closed_is_refused(
    raw_lake: TestLake, spark: SparkSession, files: LakeFiles
) -> None:
    raw_lake.changes("ads", at(0), [captured("c", at(0), 1, ad(1))])
    checkpoint = raw_lake.path(lake.CDC_CHECKPOINT.of("adrank"))
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text('{"since": null}')
    assert views.history(spark, files, "ads", BEGINNING, at(2)).count() == 1
    checkpoint.write_text(f'{{"since": "{at(1).isoformat()}"}}')
    assert views.history(spark, files, "ads", BEGINNING, at(1)).count() == 1, "before the process began"
    with pytest.raises(change_data.HourNotCapturedError, match=r"raw/cdc/ads/dt=2026-03-01/hr=01/_MANIFEST\.json"):
        views.history(spark, files, "ads", BEGINNING, at(2))


def test_a_lake_without_change_data_has_no_history(raw_lake: TestLake, spark: SparkSession, files: LakeFiles) -> None:
    assert views.history(spark, files, "ads", BEGINNING, DAY_END).count() == 0
