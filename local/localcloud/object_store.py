"""``python -m localcloud.object_store``: the S3 API over the lake directory that Spark reads and writes too.

nanio does the protocol. Added here is what two writers of one directory need: an object's size, time and ETag follow
the file when Spark or a job replaced it, listings are in key order and hide work in progress, and puts honour
``If-None-Match`` and ``If-Match``. Plus the fault switch that refuses writes, and pages that a browser may read.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import unquote

import uvicorn
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from nanio.errors import NoSuchBucket, NoSuchKey, S3Error
from nanio.storage.backend import GetObjectResult, ListResult, ObjectInfo
from nanio.storage.filesystem import FilesystemStorage
from nanio.storage.metadata import read_metadata, synthesize_metadata_from_stat
from nanio.storage.paths import metadata_path, object_path

from localcloud import lake
from localcloud.config import Config, from_command_line
from localcloud.faults import Faults

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_WRITES: Final = ("PUT", "POST", "DELETE")
_PUBLIC: Final = re.compile(r"/[^/]+/validation/.+/docs/.+\.html")
_PAGE: Final = 1000
_CLOCK_SLACK: Final = 2.0


class SlowDownError(S3Error):  # type: ignore[misc]
    """What S3 answers when it wants less."""

    code = "SlowDown"
    message = "Please reduce your request rate."
    http_status = 503


class PreconditionNotMetError(S3Error):  # type: ignore[misc]
    """A conditional put whose condition does not hold."""

    code = "PreconditionFailed"
    message = "At least one of the pre-conditions you specified did not hold"
    http_status = 412


class SharedDirectoryStorage(FilesystemStorage):  # type: ignore[misc]
    """nanio's storage for a directory that others write to as well."""

    def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """The object as it is on disk now."""
        if any(lake.is_hidden(part) for part in key.split("/")):
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

    def list_objects(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str | None = None,
        max_keys: int = _PAGE,
        continuation_token: str | None = None,
        start_after: str | None = None,
    ) -> ListResult:
        """Keys and common prefixes after the marker, together at most ``max_keys``, in key order."""
        directory = self._require_bucket_dir(bucket)
        # The token is the last key or common prefix that was returned.
        marker = bytes.fromhex(continuation_token).decode() if continuation_token else (start_after or "")
        contents: list[ObjectInfo] = []
        common: list[str] = []
        last = ""
        for key in lake.keys(directory, prefix):
            entry, is_prefix = _collapse(key, prefix, delimiter)
            if entry <= marker or entry == last:
                continue
            if len(contents) + len(common) >= min(max_keys, _PAGE):
                return ListResult(contents, common, bool(last), last.encode().hex() or None)
            if is_prefix:
                common.append(entry)
            else:
                try:
                    contents.append(self._read_or_synthesize_metadata(bucket, key, directory / key))
                except NoSuchKey:
                    continue
            last = entry
        return ListResult(contents, common, False, None)

    def _read_or_synthesize_metadata(self, bucket: str, key: str, opath: Path) -> ObjectInfo:
        try:
            stat = opath.stat(follow_symlinks=False)
        except OSError:
            raise NoSuchKey(resource=f"{bucket}/{key}") from None
        if not opath.is_file():
            raise NoSuchKey(resource=f"{bucket}/{key}")
        sidecar = metadata_path(self._data_dir, bucket, key)
        try:
            info = read_metadata(sidecar, key)
        except (OSError, ValueError, KeyError):
            info = None
        # nanio writes the sidecar right after the object: a younger or resized file is another's.
        if info and info.size == stat.st_size and abs(info.last_modified.timestamp() - stat.st_mtime) < _CLOCK_SLACK:
            return info
        made = synthesize_metadata_from_stat(opath, key)
        identity = f"{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_size}".encode()
        return replace(made, etag=f'"{hashlib.md5(identity, usedforsecurity=False).hexdigest()}-1"')


async def _bytes(file: BinaryIO, start: int, length: int, chunk_size: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while length > 0 and (chunk := await asyncio.to_thread(file.read, min(length, chunk_size))):
            length -= len(chunk)
            yield chunk


def _collapse(key: str, prefix: str, delimiter: str | None) -> tuple[str, bool]:
    if delimiter:
        head, found, _ = key[len(prefix) :].partition(delimiter)
        if found:
            return prefix + head + delimiter, True
    return key, False


class Guard:
    """ASGI middleware: pages that anybody may read, refused writes, conditional puts."""

    def __init__(self, app: App, storage: SharedDirectoryStorage, faults: Faults) -> None:
        self._app = app
        self._storage = storage
        self._faults = faults
        self._conditional: dict[str, asyncio.Lock] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in _WRITES:
            if scope["type"] == "http" and _is_public(scope):
                await self._page(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        if "refuse_s3_writes" in self._faults.active():
            await _answer(SlowDownError(), receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        conditional = {name: headers[name] for name in ("if-none-match", "if-match") if name in headers}
        if not conditional or scope["method"] == "DELETE":
            await self._app(scope, receive, send)
            return
        async with self._alone(scope["path"]):
            if self._holds(unquote(scope["path"]), conditional):
                await self._app(scope, receive, send)
            else:
                await _answer(PreconditionNotMetError(), receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        bucket, _, key = unquote(scope["path"]).lstrip("/").partition("/")
        try:
            found = await self._storage.get_object(bucket, key)
        except (NoSuchKey, NoSuchBucket) as error:
            await _answer(error, receive, send)
            return
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % found.info.size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in found.body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def _alone(self, path: str) -> AsyncIterator[None]:
        lock = self._conditional.setdefault(path, asyncio.Lock())
        async with lock:
            yield
        if not lock.locked():
            self._conditional.pop(path, None)

    def _holds(self, path: str, conditional: dict[str, str]) -> bool:
        bucket, _, key = path.lstrip("/").partition("/")
        try:
            etag = self._storage.head_object(bucket, key).etag
        except (NoSuchKey, NoSuchBucket):
            etag = None
        if "if-none-match" in conditional and etag is not None:
            return False
        return "if-match" not in conditional or conditional["if-match"].strip('"') == (etag or "").strip('"')


def _is_public(scope: Scope) -> bool:
    """Whether a browser asks for a page of the Data Docs, as a bucket policy would let it."""
    signed = any(name.lower() == b"authorization" for name, _ in scope["headers"]) or b"X-Amz-" in scope["query_string"]
    return bool(scope["method"] == "GET" and not signed and _PUBLIC.fullmatch(unquote(scope["path"])))


async def _answer(error: S3Error, receive: Receive, send: Send) -> None:
    # The body is read first, or the client sees a broken pipe instead of the answer.
    while (await receive()).get("more_body", False):
        pass
    body = error.to_xml()
    headers = [(b"content-type", b"application/xml"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def application(config: Config) -> App:
    """The ASGI app: nanio on the lake directory, behind the guard."""
    settings = Settings(
        data_dir=config.lake_dir,
        region=config.region,
        credentials=StaticCredentialResolver({config.access_key: config.secret_key}),
    )
    inner = build_app(settings)
    storage = SharedDirectoryStorage(config.lake_dir, chunk_size=settings.chunk_size)
    inner.state.storage = storage
    return Guard(inner, storage, Faults(config.faults_file))


def main() -> None:
    """Serve until stopped."""
    config = from_command_line()
    config.make_directories()
    uvicorn.run(application(config), host=config.host, port=config.s3_port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
