"""Small files and folders of the lake through Hadoop's FileSystem: the same access path as the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from pyspark.sql import SparkSession

_THREADS: Final = 16
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def in_parallel(call: Callable[[_Item], _Answer], items: Iterable[_Item]) -> list[_Answer]:
    """Answers in the order of ``items``: hides the latency of many small requests."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(call, items))


class LakeFiles:
    """One bucket; keys and prefixes are relative to it."""

    def __init__(self, spark: SparkSession, bucket: str) -> None:
        self._jvm: Any = spark._jvm
        self._hadoop: Any = spark._jsc.hadoopConfiguration()
        self.root = f"s3://{bucket}/"

    def uri(self, key: str) -> str:
        """The absolute URI of a key."""
        return self.root + key

    def exists(self, key: str) -> bool:
        """Whether a file or folder is there."""
        system, path = self._at(key)
        return bool(system.exists(path))

    def read(self, key: str) -> str:
        """A text file's content."""
        system, path = self._at(key)
        stream = system.open(path)
        try:
            return str(self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def write(self, key: str, text: str) -> None:
        """Replace a text file."""
        system, path = self._at(key)
        stream = system.create(path, True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()

    def delete(self, prefix: str) -> None:
        """Delete a file, or a folder with all that is in it; one that is not there is fine."""
        system, path = self._at(prefix)
        system.delete(path, True)

    def names(self, prefix: str) -> list[str]:
        """Names of the files and folders directly under a prefix, sorted; none where there is no such folder."""
        system, path = self._at(prefix)
        if not system.exists(path):
            return []
        return sorted(str(status.getPath().getName()) for status in system.listStatus(path))

    def _at(self, key: str) -> tuple[Any, Any]:
        path = self._jvm.org.apache.hadoop.fs.Path(self.root + key)
        return path.getFileSystem(self._hadoop), path
