"""A real Spark session over a throw-away lake directory that is an S3 bucket too, and a writer of raw hours."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adrank.contracts import lake
from adrank.contracts.events import EVENT_COLUMNS
from adrank.contracts.manifests import CdcManifest, DataFile, RawManifest
from adrank.contracts.timestamps import HOUR, floor_hour
from ingestion.landing.event_table import EVENT_SCHEMA
from localcloud.settings import LocalcloudSettings
from tests.support.kafka_broker import StoreProcess
from tests.support.table_server import TableServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BUCKET = "adrank-lake"
FEATURES_TABLE = "adrank-features"
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
_PREFIXES = LocalcloudSettings.model_fields["prefixes"].default
_RAW = "org.apache.hadoop.fs.RawLocalFileSystem"


class TestLake:
    """The lake directory as a producer sees it."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        return self.root / key

    def read_json(self, key: str) -> Any:
        return json.loads(self.path(key).read_text())

    def land(self, hour: datetime, events: Sequence[dict[str, Any]]) -> None:
        """Close one raw hour with these events."""
        self._close(hour, events, RawManifest(hour=hour, revision_time=hour + HOUR, watermark=hour, rows=0))

    def late(self, hour: datetime, events: Sequence[dict[str, Any]], revision_time: datetime) -> None:
        """Add a file to a closed raw hour, as its next revision."""
        before = RawManifest.model_validate(self.read_json(lake.RAW_EVENTS.manifest(hour)))
        changed = {"revision": before.revision + 1, "revision_time": revision_time}
        self._close(hour, events, before.model_copy(update=changed))

    def _close(self, hour: datetime, events: Sequence[dict[str, Any]], manifest: RawManifest) -> None:
        folder = self.path(lake.RAW_EVENTS.hour(hour))
        folder.mkdir(parents=True, exist_ok=True)
        files = manifest.files
        if events:
            rows = [{**dict.fromkeys(EVENT_COLUMNS), **event} for event in events]
            name = f"part-{manifest.revision}.parquet"
            pq.write_table(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA), folder / name)
            files = (*files, DataFile(name=name, rows=len(rows)))
        closed = manifest.model_copy(update={"files": files, "rows": sum(file.rows for file in files)})
        (folder / lake.MANIFEST).write_text(closed.model_dump_json())

    def change(self, table: str, moment: datetime, op: str, row: dict[str, Any]) -> None:
        """Append one Debezium envelope, as bulk-landed history has them."""
        envelope = {
            "op": op,
            "ts_ms": int(moment.timestamp() * 1000),
            "before": row if op == "d" else None,
            "after": None if op == "d" else row,
            "source": {"table": table, "lsn": len(self._changed(table, moment).files)},
        }
        self.changes(table, moment, [envelope])

    def changes(self, table: str, hour: datetime, envelopes: Sequence[dict[str, Any]]) -> Path:
        """Add a file of Debezium envelopes to an hour and name it in the manifest; returns it."""
        before = self._changed(table, hour)
        path = self.path(lake.RAW_CDC(table).hour(hour)) / f"part-{len(before.files)}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(envelope) + "\n" for envelope in envelopes))
        files = (*before.files, DataFile(name=path.name, rows=len(envelopes)))
        named = before.model_copy(update={"files": files, "changes": sum(file.rows for file in files)})
        (path.parent / lake.MANIFEST).write_text(named.model_dump_json())
        return path

    def _changed(self, table: str, hour: datetime) -> CdcManifest:
        path = self.path(lake.RAW_CDC(table).manifest(hour))
        if path.exists():
            return CdcManifest.model_validate_json(path.read_text())
        return CdcManifest(table=table, hour=floor_hour(hour), watermark=hour + HOUR, changes=0)


@pytest.fixture(scope="session")
def lake_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path_factory.mktemp("lake"), bucket=BUCKET)
    store.start()
    yield store
    store.kill()


@pytest.fixture(scope="session")
def lake_root(lake_store: StoreProcess) -> Path:
    root = lake_store.config.lake_dir / BUCKET
    for prefix in _PREFIXES:
        (root / prefix).mkdir(exist_ok=True)
    return root


@pytest.fixture(scope="session")
def spark(lake_root: Path) -> Iterator[SparkSession]:
    """One for the run, on two cores."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    options = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.shuffle.partitions": "2",
        # Interpreting a plan over ten rows is quicker than compiling it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": _RAW,
        "spark.hadoop.fs.file.impl": _RAW,
    }
    for prefix in _PREFIXES:
        options[f"spark.hadoop.fs.viewfs.mounttable.{BUCKET}.link./{prefix}"] = (lake_root / prefix).as_uri()
    for key, value in options.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.pythonExec = sys.executable
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture
def raw_lake(
    lake_store: StoreProcess, lake_root: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> TestLake:
    """The lake, emptied; what Spark kept of another test's files of the same names is forgotten."""
    spark.catalog.clearCache()
    for prefix in _PREFIXES:
        shutil.rmtree(lake_root / prefix)
        (lake_root / prefix).mkdir()
    for key, value in lake_store.client_environment.items():
        monkeypatch.setenv(key, value)
    return TestLake(lake_root)


@pytest.fixture(scope="session")
def shared_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TableServer]:
    server = TableServer(tmp_path_factory.mktemp("tables"))
    server.start()
    server.create(FEATURES_TABLE)
    yield server
    server.kill()


@pytest.fixture
def tables(shared_tables: TableServer) -> TableServer:
    """A server with an empty table of features."""
    client = shared_tables.connect()
    for key in client.scan(TableName=FEATURES_TABLE, ProjectionExpression="entity_id")["Items"]:
        client.delete_item(TableName=FEATURES_TABLE, Key=key)
    return shared_tables


def event(event_id: str, kind: str, moment: datetime, ad: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_type": kind,
        "event_time": moment,
        "ingest_time": moment,
        "user_id": "u",
        "search_id": "s",
        "ad_id": ad,
        "position": 1,
    }


def at(hour: int, minute: int = 0) -> datetime:
    """``hour`` hours and ``minute`` minutes after the first landed hour."""
    return FIRST + timedelta(hours=hour, minutes=minute)
