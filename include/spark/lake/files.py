"""Files and folders of the lake through Hadoop's FileSystem, the same access path as the data; and partitions of
Parquet files, written whole under their own names and listed for a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

_THREADS: Final = 16
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_Model = TypeVar("_Model", bound=BaseModel)


def in_parallel(call: Callable[[_Item], _Answer], items: Iterable[_Item]) -> list[_Answer]:
    """Answers in the order of ``items``: hides the latency of many small requests."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(call, items))


class LakeFiles:
    """One bucket; keys and prefixes are relative to it."""

    def __init__(self, spark: SparkSession, bucket: str) -> None:
        self.spark = spark
        self.root = f"s3://{bucket}/"
        # Looked up once: the way to a Java class is a question to the JVM for every part of its name.
        jvm: Any = spark._jvm
        self._path: Any = jvm.org.apache.hadoop.fs.Path
        self._to_string: Any = jvm.org.apache.commons.io.IOUtils.toString
        self._system: Any = self._path(self.root).getFileSystem(spark._jsc.hadoopConfiguration())

    def uri(self, key: str) -> str:
        """The absolute URI of a key."""
        return self.root + key

    def exists(self, key: str) -> bool:
        """Whether a file or folder is there."""
        return bool(self._system.exists(self._path(self.root + key)))

    def read(self, key: str) -> str:
        """A text file's content."""
        stream = self._system.open(self._path(self.root + key))
        try:
            return str(self._to_string(stream, "UTF-8"))
        finally:
            stream.close()

    def find(self, key: str) -> bytes | None:
        """A text file's content, or None when it is not there."""
        return self.read(key).encode() if self.exists(key) else None

    def load(self, key: str, model: type[_Model]) -> _Model | None:
        """The document at a key, or None when it is not there."""
        return model.model_validate_json(self.read(key)) if self.exists(key) else None

    def write(self, key: str, text: str) -> None:
        """Replace a text file."""
        stream = self._system.create(self._path(self.root + key), True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()

    def delete(self, prefix: str) -> None:
        """Delete a file, or a folder with all that is in it; one that is not there is fine."""
        self._system.delete(self._path(self.root + prefix), True)

    def names(self, prefix: str) -> list[str]:
        """Names of the files and folders directly under a prefix, sorted; none where there is no such folder."""
        return sorted(str(status.getPath().getName()) for status in self._listed(prefix))

    def folders(self, prefix: str) -> list[str]:
        """The prefixes one level below ``prefix``, sorted, each with its closing slash."""
        folders = (status for status in self._listed(prefix) if status.isDirectory())
        return sorted(f"{prefix}{status.getPath().getName()}/" for status in folders)

    def last_written(self, folder: str) -> datetime | None:
        """When, by the store's clock, any file in a folder or below was last written; None where there is no file."""
        path = self._path(self.root + folder)
        if not self._system.exists(path):
            return None
        found, newest = self._system.listFiles(path, True), None
        while found.hasNext():
            written = datetime.fromtimestamp(found.next().getModificationTime() / 1000, UTC)
            newest = written if newest is None else max(newest, written)
        return newest

    def overwrite_partitions(self, frame: DataFrame, prefix: str, *keys: str) -> None:
        """Write a frame under ``prefix``, partitioned by the columns ``keys``; other partitions stay as they are.

        A dynamic overwrite stages under a name of its own. An append would share ``_temporary`` with every other step
        that writes there, and its commit would take in what a killed one had left.
        """
        (
            frame.write.mode("overwrite")
            .option("partitionOverwriteMode", "dynamic")
            .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
            .partitionBy(*keys)
            .parquet(self.uri(prefix))
        )

    def read_parquet(self, spark: SparkSession, keys: Iterable[str], schema: str | StructType) -> DataFrame:
        """The rows of these files, in the session ``spark``; no rows where there are no files."""
        paths = [self.uri(key) for key in keys]
        return spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)

    def parquet_files(self, folder: str) -> tuple[str, ...]:
        """Names of the Parquet files in a folder, sorted; none where there is no such folder."""
        return tuple(name for name in self.names(folder) if name.endswith(".parquet"))

    def withdraw(self, manifest: str, folder: str) -> None:
        """Delete a partition, its manifest first, so that nobody reads half of it."""
        self.delete(manifest)
        self.delete(folder.rstrip("/"))

    def _listed(self, prefix: str) -> Sequence[Any]:
        path = self._path(self.root + prefix)
        return self._system.listStatus(path) if self._system.exists(path) else ()
