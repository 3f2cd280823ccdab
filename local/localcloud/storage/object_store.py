"""``python -m localcloud.storage.object_store``: the S3 API over a directory; a bucket is a sub-directory, an object a
file.

nanio does the protocol. Added here is what two writers of one directory need
(:mod:`localcloud.storage.shared_directory`), or what one sole writer can have (:mod:`localcloud.storage.key_index`),
listings that cost what they return (:mod:`localcloud.storage.listing`), puts that honour ``If-None-Match`` and
``If-Match``, the fault switch that refuses writes, and pages that a browser may read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote

import uvicorn
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from nanio.errors import NoSuchBucket, NoSuchKey, S3Error

from localcloud.faults.armed import Faults
from localcloud.settings import LocalcloudSettings, from_command_line
from localcloud.storage.key_index import IndexedStorage
from localcloud.storage.shared_directory import SharedDirectoryStorage

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_WRITES: Final = ("PUT", "POST", "DELETE")
_PUBLIC: Final = re.compile(r"/[^/]+/validation/.+/docs/.+\.html")


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


class RequestFilter:
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


def application(settings: LocalcloudSettings) -> App:
    """The ASGI app: nanio on the lake directory, behind the guard."""
    nanio_settings = Settings(
        data_dir=settings.lake_dir,
        region=settings.region,
        credentials=StaticCredentialResolver({settings.access_key: settings.secret_key}),
    )
    inner = build_app(nanio_settings)
    storage_type = IndexedStorage if settings.sole_writer else SharedDirectoryStorage
    storage = storage_type(settings.lake_dir, chunk_size=nanio_settings.chunk_size)
    inner.state.storage = storage
    inner.router.routes[:0] = storage.routes()
    return RequestFilter(inner, storage, Faults(settings.faults_file))


def main() -> None:
    """Serve until stopped."""
    settings = from_command_line()
    settings.make_directories()
    uvicorn.run(application(settings), host=settings.host, port=settings.s3_port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
