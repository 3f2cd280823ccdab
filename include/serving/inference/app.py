"""The HTTP face of the container: GET /ping and POST /invocations, as SageMaker calls them.

The package is loaded and checked before the port is bound, so a container that answers is one that may serve.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adrank.contracts import registry
from adrank.contracts.entry_points.serving import ServingEnvironment
from adrank.contracts.packages import PackageDigestError
from adrank.online.vectors import UnknownFeatureError
from adrank.ranking.ranker import BrokenPackageError
from serving.inference.requests import InvalidRequestError, parse
from serving.inference.service import RankingService, load_service

_LOG: Final = logging.getLogger(__name__)

#: Longer than callers keep idle connections, so that it is never the container that closes one in use.
_KEEP_ALIVE_SECONDS: Final = 75

_REFUSALS: Final = (
    PackageDigestError,
    BrokenPackageError,
    UnknownFeatureError,
    ValidationError,
    registry.RegistryMismatchError,
)


def create_app(service: RankingService, threads: int = 8) -> Starlette:
    """The application around a loaded service; ``threads`` requests are ranked at a time."""
    workers = ThreadPoolExecutor(threads, thread_name_prefix="rank")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        workers.shutdown(wait=False, cancel_futures=True)
        service.close()

    def answer(body: bytes) -> bytes:
        return json.dumps(service.answer(parse(body)), separators=(",", ":")).encode()

    async def ping(_: Request) -> Response:
        return Response(status_code=200)

    async def invocations(request: Request) -> Response:
        body = await request.body()
        try:
            content = await asyncio.get_running_loop().run_in_executor(workers, answer, body)
        except InvalidRequestError as error:
            service.count("invalid")
            return JSONResponse({"error": str(error)}, status_code=400)
        except Exception:
            service.count("failed")
            _LOG.exception("a request failed")
            return JSONResponse({"error": "internal error; the container's log has the reason"}, status_code=500)
        return Response(content, media_type="application/json")

    return Starlette(
        routes=[Route("/ping", ping, methods=["GET"]), Route("/invocations", invocations, methods=["POST"])],
        lifespan=lifespan,
    )


def main() -> int:
    """Serve until told to stop; exits 1, saying why, when the package may not be served."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        environment = ServingEnvironment.read()
        service = load_service(environment, registry.load())
    except _REFUSALS as refusal:
        _LOG.error("refusing to start: %s", refusal)
        return 1
    uvicorn.run(
        create_app(service, environment.threads),
        host=environment.host,
        port=environment.port,
        loop="uvloop",
        http="httptools",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        access_log=False,
        log_level="warning",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
