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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import unquote

import uvicorn
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from nanio.errors import NoSuchBucket, NoSuchKey, S3Error
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from localcloud.faults.armed import Faults
from localcloud.settings import LocalcloudSettings, from_command_line
from localcloud.storage.key_index import IndexedStorage
from localcloud.storage.shared_directory import SharedDirectoryStorage

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

    def __init__(self, app: ASGIApp, storage: SharedDirectoryStorage, faults: Faults) -> None:
        self._app = app
        self._storage = storage
        self._faults = faults
        self._conditional: dict[str, asyncio.Lock] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        conditional = {name: request.headers[name] for name in ("if-none-match", "if-match") if name in request.headers}
        app = self._app
        if request.method not in _WRITES:
            if _is_public(request):
                app = await self._page(scope["path"])
        elif "refuse_s3_writes" in self._faults.active():
            app = await _refuse(request, SlowDownError())
        elif conditional and request.method != "DELETE":
            async with self._alone(scope["path"]):
                if not self._holds(unquote(scope["path"]), conditional):
                    app = await _refuse(request, PreconditionNotMetError())
                await app(scope, receive, send)
            return
        await app(scope, receive, send)

    async def _page(self, path: str) -> Response:
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        try:
            found = await self._storage.get_object(bucket, key)
        except (NoSuchKey, NoSuchBucket) as error:
            return _response(error)
        return StreamingResponse(found.body, headers={"content-length": str(found.info.size)}, media_type="text/html")

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


def _is_public(request: Request) -> bool:
    """Whether a browser asks for a page of the Data Docs, as a bucket policy would let it."""
    is_signed = "authorization" in request.headers or "X-Amz-" in request.url.query
    return request.method == "GET" and not is_signed and bool(_PUBLIC.fullmatch(unquote(request.scope["path"])))


async def _refuse(request: Request, error: S3Error) -> Response:
    # The body is read first, or the client sees a broken pipe instead of the answer.
    with suppress(ClientDisconnect):
        async for _ in request.stream():
            pass
    return _response(error)


def _response(error: S3Error) -> Response:
    return Response(error.to_xml(), error.http_status, media_type="application/xml")


def application(settings: LocalcloudSettings) -> ASGIApp:
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
