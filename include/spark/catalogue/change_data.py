"""The change data of one table: the files that its hours' manifests name, every column of them known.

A column that nobody declared stops the reader, by name: a history without it would look whole. One that upstream has
dropped is null. A column's type is what JSON says; another one than declared stops the reader too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, NullType, NumericType, StringType, StructType, VariantType

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CdcManifest, DataFile
from adrank.contracts.timestamps import DAY, HOUR, floor_hour
from spark.lake.files import LakeFiles, in_parallel

#: ``moment``: microseconds since the epoch, or ISO 8601 as Debezium writes zoned timestamps.
ColumnType = Literal["text", "number", "moment"]

#: Create, update, delete, read by a snapshot, truncate.
_OPERATIONS: Final = frozenset("cudrt")
_SPARK: Final[Mapping[ColumnType, str]] = {"text": "string", "number": "double", "moment": "string"}
_JSON: Final[Mapping[ColumnType, tuple[type[DataType], ...]]] = {
    "text": (StringType,),
    "number": (NumericType,),
    "moment": (NumericType, StringType),
}
_DAY: Final = "dt="


class HourNotCapturedError(RuntimeError):
    """The capture process has not closed an hour that is needed."""


class CdcFileTornError(RuntimeError):
    """A file of change data is not what its manifest says."""


class UnknownColumnError(RuntimeError):
    """Change data has a column that the history does not declare."""


class ColumnTypeError(RuntimeError):
    """A column of the change data has another type than the history declares."""


class UnknownOperationError(RuntimeError):
    """Change data tells of something that is no operation on rows."""


class ChangeData(NamedTuple):
    """Envelopes (``op, ts_ms, change_us, before, after, source``) and the operations that occur among them."""

    envelopes: DataFrame
    operations: frozenset[str]


def row_type(columns: Mapping[str, ColumnType]) -> str:
    """Spark's type of a row image with ``columns``, moments as text."""
    return f"struct<{', '.join(f'{name}: {_SPARK[kind]}' for name, kind in columns.items())}>"


def read(
    spark: SparkSession,
    files: LakeFiles,
    table: str,
    since: datetime | None,
    end: datetime,
    columns: Mapping[str, ColumnType],
    ignored: Collection[str] = (),
) -> ChangeData:
    """Change data of the hours from ``since`` (None: the first there is) to before ``end``.

    ``before`` and ``after`` have ``columns``, moments as text. ``ignored``: further columns, each ``table.column``.

    :raises HourNotCapturedError: a capture process is at work and the last hour before ``end`` is still open.
    :raises CdcFileTornError: a file is missing or holds another number of changes than its manifest promises.
    :raises UnknownColumnError: a column is neither declared nor ignored.
    :raises ColumnTypeError: a value is not of its column's type.
    :raises UnknownOperationError: an operation is none of Debezium's on rows and tables.
    """
    _require_captured(files, table, end)
    row = row_type(columns)
    schema = (
        f"op string, ts_ms bigint, change_us bigint, before {row}, after {row}, "
        "source struct<name: string, lsn: bigint, ts_us: bigint, ts_ms: bigint>"
    )
    promised = _manifest_files(files, table, since, end)
    if not promised:
        return ChangeData(spark.createDataFrame([], schema), frozenset())
    paths = [files.uri(key) for key in promised]
    found = {_key(table, seen["path"]): seen for seen in _seen(spark, paths)}
    for key, file in promised.items():
        seen = found.get(key)
        if seen is None or seen["rows"] != file.rows:
            held = 0 if seen is None else seen["rows"]
            raise CdcFileTornError(f"{key} holds {held} changes, its manifest says {file.rows}")
        for side in ("before", "after"):
            _require_columns(key, table, seen[side], columns, ignored)
        if unknown := set(seen["operations"]) - _OPERATIONS:
            raise UnknownOperationError(f"{key}: {table} has operation {', '.join(sorted(unknown))}")
    operations = frozenset(op for seen in found.values() for op in seen["operations"])
    return ChangeData(spark.read.schema(schema).option("mode", "FAILFAST").json(paths), operations)


def _require_captured(files: LakeFiles, table: str, end: datetime) -> None:
    for name in files.names(lake.CDC_CHECKPOINTS):
        checkpoint = json.loads(files.read(lake.CDC_CHECKPOINTS + name))
        since = checkpoint["since"]
        last = end - HOUR
        if since is None or last < datetime.fromisoformat(since):
            continue
        key = lake.RAW_CDC(table).manifest(last)
        if not files.exists(key):
            raise HourNotCapturedError(f"{files.uri(key)} is not there: changes of that hour may still come")


def _manifest_files(files: LakeFiles, table: str, since: datetime | None, end: datetime) -> dict[str, DataFile]:
    """Every file that a manifest of these hours names, by key."""
    manifests = [lake.RAW_CDC(table).manifest(hour) for hour in _hours(files, table, since, end)]
    found = in_parallel(lambda key: files.load(key, CdcManifest), manifests)
    hours = [manifest for manifest in found if manifest is not None]
    promised = {lake.RAW_CDC(table).hour(hour.hour) + file.name: file for hour in hours for file in hour.files}
    for key, exists in zip(promised, in_parallel(files.exists, promised), strict=True):
        if not exists:
            raise CdcFileTornError(f"{key} is missing, its manifest names it")
    return promised


def _hours(files: LakeFiles, table: str, since: datetime | None, end: datetime) -> list[datetime]:
    """The whole hours before ``end``: from ``since`` on, or else of every day that has any."""
    last = floor_hour(end)
    if since is not None:
        return list(timestamps.hours(since, last))
    names = [name.removeprefix(_DAY) for name in files.names(lake.RAW_CDC(table).prefix) if name.startswith(_DAY)]
    days = (datetime.fromisoformat(name).replace(tzinfo=UTC) for name in names)
    return [hour for day in days for hour in timestamps.hours(day, min(day + DAY, last))]


def _key(table: str, path: str) -> str:
    root = lake.RAW_CDC(table).prefix
    return root + path.split(root, 1)[1]


def _seen(spark: SparkSession, paths: list[str]) -> list[Row]:
    """By file: its number of changes, their operations, and which columns of which types its row images have."""
    documents = spark.read.text(paths).select(
        F.col("_metadata.file_path").alias("path"), F.parse_json("value").alias("document")
    )
    images = (
        F.schema_of_variant_agg(F.variant_get("document", f"$.{side}", "variant")).alias(side)
        for side in ("before", "after")
    )
    operations = F.collect_set(F.variant_get("document", "$.op", "string")).alias("operations")
    return documents.groupBy("path").agg(F.count(F.lit(1)).alias("rows"), operations, *images).collect()


def _require_columns(
    key: str, table: str, image: str, columns: Mapping[str, ColumnType], ignored: Collection[str]
) -> None:
    for name, found in _fields(image):
        kind = columns.get(name)
        if kind is None:
            if f"{table}.{name}" not in ignored:
                raise UnknownColumnError(
                    f"{key}: {table} has a column {name} that its history does not know; "
                    "declare it, or ignore it by name"
                )
        elif not isinstance(found, (*_JSON[kind], NullType)):
            held = "several types" if isinstance(found, VariantType) else found.simpleString()
            raise ColumnTypeError(f"{key}: {table}.{name} holds {held}, its history declares {kind}")


def _fields(ddl: str) -> Iterator[tuple[str, DataType]]:
    whole = StructType.fromDDL(f"image {ddl.replace('OBJECT<', 'STRUCT<')}")
    for image in whole if isinstance(whole, StructType) else ():
        if isinstance(image.dataType, StructType):
            yield from ((field.name, field.dataType) for field in image.dataType)
