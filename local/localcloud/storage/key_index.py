"""A bucket that only this process writes, with its keys in memory: listings and HEAD touch no disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from nanio.errors import NoSuchKey
from nanio.handlers.object import dispatch_object
from nanio.storage.backend import BucketInfo, ObjectInfo
from sortedcontainers import SortedDict  # type: ignore[import-untyped]
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud.storage.listing import Entry, Page, paginate
from localcloud.storage.shared_directory import SharedDirectoryStorage
from localcloud.storage.walk import walk


def entries(index: Any, prefix: str, delimiter: str, after: str) -> Iterator[tuple[str, Entry | None]]:
    """Keys and common prefixes (None) behind ``after``, in order; what lies below a prefix is not looked at.

    ``index``: entries by key, in key order.
    """
    keys = index.keys()
    place = index.bisect_right(after) if after >= prefix else index.bisect_left(prefix)
    while place < len(keys) and (key := keys[place]).startswith(prefix):
        head, folds, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if folds:
            common = prefix + head + delimiter
            if common > after:
                yield common, None
            place = index.bisect_left(_behind(common))
        else:
            yield key, index[key]
            place += 1


class IndexedStorage(SharedDirectoryStorage):
    """The index is made by walking the directory at start; every write through this API keeps it.

    An object is in it from the moment that its file is in place: nothing else runs between the two.
    """

    def __init__(self, data_dir: Path, *, chunk_size: int) -> None:
        super().__init__(data_dir, chunk_size=chunk_size)
        #: By bucket, its objects' entries by key, in key order.
        self._buckets: dict[str, Any] = {
            bucket.name: SortedDict(
                (key, self.entry(bucket.name, key)) for key, _ in walk(self._data_dir / bucket.name)
            )
            for bucket in self.list_buckets()
        }

    def create_bucket(self, bucket: str) -> BucketInfo:
        """Make an empty bucket."""
        made: BucketInfo = super().create_bucket(bucket)
        self._buckets[bucket] = SortedDict()
        return made

    def delete_bucket(self, bucket: str) -> None:
        """Delete an empty bucket."""
        super().delete_bucket(bucket)
        del self._buckets[bucket]

    def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """The object as it was last written."""
        self._require_bucket_dir(bucket)
        entry: Entry | None = self._buckets[bucket].get(key)
        if entry is None:
            raise NoSuchKey(resource=f"{bucket}/{key}")
        return entry.info

    async def put_object(self, bucket: str, key: str, body: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
        """Write one object; copies come through here too."""
        try:
            info: ObjectInfo = await super().put_object(bucket, key, body, **more)
        except OSError:
            self.reindex(bucket, key)  # its file may be in place all the same
            raise
        self.reindex(bucket, key)
        return info

    def delete_object(self, bucket: str, key: str) -> None:
        """Delete one object; one that is not there is fine."""
        super().delete_object(bucket, key)
        self._buckets[bucket].pop(key, None)

    def reindex(self, bucket: str, key: str) -> None:
        """Look at an object's file anew, which may have come, changed or gone."""
        try:
            self._buckets[bucket][key] = self.entry(bucket, key)
        except NoSuchKey:
            self._buckets[bucket].pop(key, None)

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, size: int) -> Page:
        """At most ``size`` keys and common prefixes after ``after``, in key order."""
        self._require_bucket_dir(bucket)
        return paginate(entries(self._buckets[bucket], prefix, delimiter, after), size)

    def routes(self) -> list[Route]:
        """Multipart uploads are put together by nanio beside its storage: the index is told of them here."""

        async def complete(request: Request) -> Response:
            response: Response = await dispatch_object(request)
            if "uploadId" in request.query_params and response.status_code == 200:
                self.reindex(request.path_params["bucket"], request.path_params["key"])
            return response

        return [*super().routes(), Route("/{bucket}/{key:path}", complete, methods=["POST"])]


def _behind(common: str) -> str:
    """The first string behind all that start with ``common``."""
    return common[:-1] + chr(ord(common[-1]) + 1)
