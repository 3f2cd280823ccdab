"""A lake with a log of any length, and a Spark session on it: what the feature benchmarks run on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from adrank.contracts import lake
from adrank.contracts.manifests import CdcManifest, DataFile, RawManifest
from adrank.contracts.timestamps import HOUR
from localcloud.emr.spark_submit import configuration
from localcloud.settings import LocalcloudSettings
from tests.support.kafka_broker import StoreProcess

BUCKET = "adrank-lake"
START = datetime(2026, 1, 1, tzinfo=UTC)
SQL = Path(__file__).resolve().parents[1] / "include" / "sql"
KINDS = np.array(["impression", "click", "contact", "sale"])


class BenchLake:
    """A directory that Spark reads as ``s3://`` and that an S3 API serves, for the leases."""

    def __init__(self, directory: Path) -> None:
        self.store = StoreProcess(directory, bucket=BUCKET)
        self.config: LocalcloudSettings = self.store.config
        self.root = self.config.lake_dir / BUCKET
        shutil.copytree(SQL, self.root / "code" / "sql", dirs_exist_ok=True)

    def session(self) -> SparkSession:
        """A session with the whole JIT: these are no small steps. It counts every byte; vectored reads go uncounted."""
        conf = configuration(self.config) | {"spark.driver.extraJavaOptions": "", "spark.driver.memory": "6g"}
        conf["spark.hadoop.parquet.hadoop.vectored.io.enabled"] = "false"
        builder = SparkSession.builder
        for key, value in conf.items():
            builder = builder.config(key, value)
        return builder.getOrCreate()

    def land(self, hours: Iterator[datetime], events: int, ads: int, users: int, seed: int) -> int:
        """Land raw hours of so many events; two in a hundred come twice. Returns the rows."""
        rng, rows = np.random.default_rng(seed), 0
        popularity = rng.permutation(ads)
        for hour in hours:
            table = _hour(rng, hour, events, popularity, users)
            folder = self.root / lake.RAW_EVENTS.hour(hour)
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / "part-0.parquet", compression="zstd")
            manifest = RawManifest(
                hour=hour,
                revision_time=hour + HOUR,
                watermark=hour + HOUR,
                files=(DataFile(name="part-0.parquet", rows=table.num_rows),),
                rows=table.num_rows,
            )
            (folder / lake.MANIFEST).write_text(manifest.model_dump_json())
            rows += table.num_rows
        return rows

    def catalogue(self, hours: Iterator[datetime], ads: int, sellers: int, changes: int, seed: int) -> None:
        """Land a snapshot of ads and sellers in the first hour, and so many price changes in every later one."""
        rng = np.random.default_rng(seed)
        for number, hour in enumerate(hours):
            chosen = np.arange(ads) if number == 0 else rng.integers(0, ads, changes)
            moment = int(hour.timestamp() * 1000)
            rows = [
                {
                    "op": "r" if number == 0 else "u",
                    "ts_ms": moment + place % 3_600_000,
                    "before": None,
                    "after": _ad(int(ad), sellers, float(rng.integers(100, 90_000)) / 100),
                    "source": {"table": "ads", "lsn": number * 10_000_000 + place},
                }
                for place, ad in enumerate(chosen)
            ]
            self._changes("ads", hour, rows)
            owners = [{"seller_id": f"seller-{n}", "created_at": 0} for n in range(sellers)] if number == 0 else []
            changes = [
                {"op": "r", "ts_ms": moment, "before": None, "after": row, "source": {"table": "sellers", "lsn": n}}
                for n, row in enumerate(owners)
            ]
            self._changes("sellers", hour, changes)

    def _changes(self, table: str, hour: datetime, rows: list[dict[str, Any]]) -> None:
        folder = self.root / lake.RAW_CDC(table).hour(hour)
        folder.mkdir(parents=True, exist_ok=True)
        files = (DataFile(name="part-0.jsonl", rows=len(rows)),) if rows else ()
        if rows:
            (folder / "part-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        manifest = CdcManifest(table=table, hour=hour, watermark=hour + HOUR, files=files, changes=len(rows))
        (folder / lake.MANIFEST).write_text(manifest.model_dump_json())


@contextmanager
def bench_lake(directory: Path, environment: dict[str, str]) -> Iterator[BenchLake]:
    """A lake whose store runs; ``environment`` gets the variables that reach it."""
    made = BenchLake(directory)
    made.store.start()
    environment.update(made.store.client_environment)
    try:
        yield made
    finally:
        made.store.kill()


def bytes_read(spark: SparkSession) -> int:
    """Bytes that this JVM has read through Hadoop's file systems so far, each once."""
    statistics = spark._jvm.org.apache.hadoop.fs.FileSystem.getAllStatistics()
    return max((int(each.getBytesRead()) for each in statistics), default=0)


def _hour(
    rng: np.random.Generator, hour: datetime, events: int, popularity: np.ndarray[Any, Any], users: int
) -> pa.Table:
    ads = popularity[np.minimum((rng.pareto(1.1, events) * len(popularity) / 40).astype(int), len(popularity) - 1)]
    kind = rng.choice(4, events, p=[0.88, 0.09, 0.025, 0.005])
    start = int((hour - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    times = pa.array(np.sort(rng.integers(0, 3_600_000_000, events)) + start, pa.timestamp("us", tz="UTC"))
    stamp = f"{hour:%Y%m%d%H}-"
    table = pa.table(
        {
            "event_id": pa.array([stamp + str(n) for n in range(events)]),
            "event_type": pa.array(KINDS[kind]),
            "event_time": times,
            "ingest_time": times,
            "user_id": pa.array([f"user-{n}" for n in rng.integers(0, users, events)]),
            "search_id": pa.array([f"{stamp}{n // 10}" for n in range(events)]),
            "ad_id": pa.array([f"ad-{n}" for n in ads]),
            "position": pa.array(rng.integers(1, 21, events), pa.int32()),
            "revenue": pa.array(np.where(kind == 3, 20.0, np.nan), from_pandas=True),
        }
    )
    again = rng.choice(events, events // 50, replace=False)
    return pa.concat_tables([table, table.take(pa.array(again))])


def _ad(number: int, sellers: int, price: float) -> dict[str, Any]:
    return {
        "ad_id": f"ad-{number}",
        "seller_id": f"seller-{number % sellers}",
        "category": f"category-{number % 40}",
        "price": price,
        "created_at": 0,
        "image_quality_score": 0.5,
    }
