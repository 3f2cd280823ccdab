"""The steps as processes of their own run them, and what a compute step leaves."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from adrank.contracts import lake
from adrank.contracts.manifests import FeatureManifest
from expectations.hour_suite import RowRatioBounds
from spark.jobs import validate_features
from spark.jobs.compute_features import main as compute
from spark.lake.files import LakeFiles
from tests.support.spark_lake import BUCKET, TestLake, at

SQL = Path(__file__).resolve().parents[4] / "include" / "sql"
BOUNDS = RowRatioBounds(min_ratio=0.5, max_ratio=2, min_rows_compared=3)


def run(lake_: TestLake, group: str, start: datetime, end: datetime, *more: str) -> None:
    """As a process of its own: nothing that Spark kept for an earlier one is there."""
    SparkSession.active().catalog.clearCache()
    shutil.copytree(SQL, lake_.path("code/sql"), dirs_exist_ok=True)
    arguments = ["--bucket", BUCKET, "--group", group, "--start", start.isoformat(), "--end", end.isoformat()]
    compute([*arguments, "--queries", f"s3://{BUCKET}/code/sql", *more])


def manifest(lake_: TestLake, group: str, hour: datetime, revision: int = 0) -> FeatureManifest:
    return FeatureManifest.model_validate(lake_.read_json(lake.FEATURES(group).manifest(hour, revision)))


def rows(lake_: TestLake, group: str, hour: datetime, revision: int = 0) -> dict[str, dict[str, Any]]:
    prefix, named = lake_.path(lake.FEATURES(group).revision(hour, revision)), manifest(lake_, group, hour, revision)
    found = [row for name in named.files for row in pq.read_table(prefix / name).to_pylist()]
    assert len(found) == named.rows
    return {row["entity_id"]: row for row in found}


def ad(ad_id: str, price: float | None, seller: str = "s", created: datetime | None = None) -> dict[str, Any]:
    micros = None if created is None else int(created.timestamp() * 1e6)
    return {
        "ad_id": ad_id,
        "seller_id": seller,
        "category": "bikes",
        "price": price,
        "created_at": micros,
        "image_quality_score": 0.5,
    }


def validate_hours(start: int, end: int, run: str = "manual__1") -> None:
    where = ["--bucket", BUCKET, "--start", at(start).isoformat(), "--end", at(end).isoformat(), "--run", run]
    validate_features.main([*where, "--row-ratio", "0.5", "2", "--min-rows-compared", "3"])


def validate_revised(start: int, end: int, revised_from: datetime) -> None:
    """Hours from ``revised_from`` on that were computed are looked at too."""
    spark = SparkSession.active()
    validate_features.validate(spark, LakeFiles(spark, BUCKET), at(start), at(end), revised_from, "manual__1", BOUNDS)
