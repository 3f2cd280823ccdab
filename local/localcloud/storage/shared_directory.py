"""nanio's storage for a directory that others write to as well, as Spark does to the lake."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

from nanio.errors import NoSuchKey
from nanio.storage.backend import GetObjectResult, ObjectInfo
from nanio.storage.filesystem import FilesystemStorage
from nanio.storage.metadata import read_metadata
from nanio.storage.paths import metadata_path, metadata_root, object_path
from starlette.routing import Route

from localcloud.storage import listing
from localcloud.storage.listing import Entry, Page, paginate
from localcloud.storage.walk import is_hidden, walk

_CLOCK_SLACK: Final = 2.0
_ENTRIES: Final = 100_000
"""Entries kept in memory: about a kilobyte each."""


class SharedDirectoryStorage(FilesystemStorage):  # type: ignore[misc]
    """An object's size, time and ETag follow the file when somebody else replaced it, for HEAD as for listings."""

    def __init__(self, data_dir: Path, *, chunk_size: int) -> None:
        super().__init__(data_dir, chunk_size=chunk_size)
        # A version of a file is known by inode, time and size: as long as they stay, so does its entry.
        self._entry_of = lru_cache(_ENTRIES)(self._read_entry)
        for bucket in self.list_buckets():
            # nanio refuses to write where a killed writer left half a sidecar.
            for half in metadata_root(self._data_dir, bucket.name).rglob("*.json.tmp"):
                half.unlink()

    def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """The object as it is on disk now."""
        if any(is_hidden(part) for part in key.split("/")):
            raise NoSuchKey(resource=f"{bucket}/{key}")
        return super().head_object(bucket, key)

    async def get_object(
        self, bucket: str, key: str, *, range_start: int | None = None, range_end: int | None = None
    ) -> GetObjectResult:
        """The object or a range of it; a range that ends behind the object ends with it, as in S3.

        The file is opened before anything is said of it, so that nobody gets the headers of one version and the bytes
        of another that replaces it meanwhile.
        """
        while True:
            info = self.head_object(bucket, key)
            try:
                file = object_path(self._data_dir, bucket, key).open("rb")
            except FileNotFoundError:
                raise NoSuchKey(resource=f"{bucket}/{key}") from None
            if os.fstat(file.fileno()).st_size == info.size:
                break
            file.close()
        if range_end is not None:
            range_end = min(range_end, info.size - 1)
        found = await super().get_object(bucket, key, range_start=range_start, range_end=range_end)
        start, end = range_start or 0, info.size - 1 if range_end is None else range_end
        return replace(found, info=info, body=_bytes(file, start, end + 1 - start, self._chunk_size))

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, size: int) -> Page:
        """At most ``size`` keys and common prefixes after ``after``, in key order."""
        found = walk(self._require_bucket_dir(bucket), prefix, after=after, folded=delimiter == "/")
        listed = self._listed(bucket, found)
        return paginate(listed if delimiter in ("", "/") else _folded(listed, prefix, delimiter, after), size)

    def entry(self, bucket: str, key: str) -> Entry:
        """One object's entry as of now.

        :raises NoSuchKey: there is no such file
        """
        try:
            return self._entry(bucket, key, os.lstat(object_path(self._data_dir, bucket, key)))
        except OSError:
            raise NoSuchKey(resource=f"{bucket}/{key}") from None

    def routes(self) -> list[Route]:
        """Routes that go before nanio's."""
        return listing.routes(self)

    def _listed(
        self, bucket: str, found: Iterator[tuple[str, os.DirEntry[str] | None]]
    ) -> Iterator[tuple[str, Entry | None]]:
        for key, file in found:
            if file is None:
                yield key, None
                continue
            try:
                yield key, self._entry(bucket, key, file.stat(follow_symlinks=False))
            except (FileNotFoundError, NoSuchKey):
                continue  # deleted, or a link

    def _entry(self, bucket: str, key: str, found: os.stat_result) -> Entry:
        if not stat.S_ISREG(found.st_mode):
            raise NoSuchKey(resource=f"{bucket}/{key}")
        return self._entry_of(bucket, key, found.st_ino, found.st_mtime_ns, found.st_size)

    def _read_entry(self, bucket: str, key: str, inode: int, mtime_ns: int, size: int) -> Entry:
        try:
            info = read_metadata(metadata_path(self._data_dir, bucket, key), key)
        except (OSError, ValueError, KeyError):
            info = None
        # nanio writes the sidecar right after the object: a younger or resized file is another's.
        modified = mtime_ns / 1e9
        if info and info.size == size and abs(info.last_modified.timestamp() - modified) < _CLOCK_SLACK:
            return listing.render(info)
        identity = hashlib.md5(f"{inode}:{mtime_ns}:{size}".encode(), usedforsecurity=False).hexdigest()
        moment = datetime.fromtimestamp(modified, UTC)
        return listing.render(ObjectInfo(key=key, size=size, etag=f'"{identity}-1"', last_modified=moment))

    def _read_or_synthesize_metadata(self, bucket: str, key: str, _: Path) -> ObjectInfo:
        return self.entry(bucket, key).info


def _folded(
    listed: Iterator[tuple[str, Entry | None]], prefix: str, delimiter: str, after: str
) -> Iterator[tuple[str, Entry | None]]:
    """Keys that have the delimiter behind the prefix become one common prefix each."""
    last = after
    for key, entry in listed:
        head, folds, _ = key[len(prefix) :].partition(delimiter)
        common = prefix + head + delimiter
        if not folds:
            yield key, entry
        elif common > last:
            last = common
            yield common, None


async def _bytes(file: BinaryIO, start: int, length: int, chunk_size: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while length > 0 and (chunk := await asyncio.to_thread(file.read, min(length, chunk_size))):
            length -= len(chunk)
            yield chunk
