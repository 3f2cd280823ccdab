"""The data plane of endpoints and the fault switches, on one port: light, asynchronous, with kept connections.

``POST /endpoints/{name}/invocations`` speaks sagemaker-runtime's wire format; ``GET /endpoints`` shows the routes;
``GET /health``; ``/faults`` arms, shows and clears faults.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp import web
from pydantic import ValidationError

from localcloud.cloudwatch.metrics import Metrics
from localcloud.faults.armed import SwitchError
from localcloud.faults.control import FaultControl
from localcloud.sagemaker.traffic import Fleet, Routes, UnknownVariantError, Variant
from localcloud.settings import LocalcloudSettings

_PASSED_IN: Final = (
    "Content-Type",
    "Accept",
    "X-Amzn-SageMaker-Custom-Attributes",
    "X-Amzn-SageMaker-Inference-Id",
    "X-Amzn-SageMaker-Session-Id",
)
_PASSED_OUT: Final = ("Content-Type", "X-Amzn-SageMaker-Custom-Attributes")
_TARGET: Final = "X-Amzn-SageMaker-Target-Variant"
_INVOKED: Final = "x-Amzn-Invoked-Production-Variant"
_MAX_BODY: Final = 25 * 1024 * 1024
#: Serving frameworks close idle connections after 5 s or more.
_KEEPALIVE_SECONDS: Final = 3.0
_SEED: Final = 20


class GatewayError(RuntimeError):
    """The gateway's port could not be taken."""


class Gateway:
    """The server; it runs in a thread with its own event loop."""

    def __init__(
        self,
        settings: LocalcloudSettings,
        routes: Routes,
        metrics: Metrics,
        fault_control: FaultControl,
        health: Callable[[], Any],
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._metrics = metrics
        self._fault_control = fault_control
        self._health = health
        self._random = random.Random(_SEED)  # noqa: S311
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    def start(self) -> None:
        """Serve from now on; raises :class:`GatewayError` when the port is taken."""
        threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True).start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except OSError as error:
            raise GatewayError(f"port {self._settings.gateway_port} (gateway): {error}") from error

    def stop(self) -> None:
        """Finish what is under way and stop."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)

    async def _open(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._settings.request_timeout_seconds)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/endpoints/{name}/invocations", self._invoke)
        app.router.add_get("/endpoints", self._show_routes)
        app.router.add_get("/health", self._show_health)
        app.router.add_get("/faults", self._show_faults)
        app.router.add_post("/faults/{fault}", self._arm)
        app.router.add_delete("/faults", self._clear)
        app.router.add_delete("/faults/{fault}", self._clear)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.gateway_port).start()

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _invoke(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        body = await request.read()
        route = self._routes.get(name)
        if route is None:
            return _error(
                400, "ValidationError", f"Endpoint {name} of account {self._fault_control.account} not found."
            )
        fleet = route.choose(self._random)
        fleet.in_flight += 1
        try:
            variant = fleet.choose(request.headers.get(_TARGET), self._random)
            return await self._forward(name, fleet, variant, request, body)
        except UnknownVariantError as error:
            return _error(400, "ValidationError", str(error))
        finally:
            fleet.in_flight -= 1

    async def _forward(
        self, name: str, fleet: Fleet, variant: Variant, request: web.Request, body: bytes
    ) -> web.Response:
        headers = {key: request.headers[key] for key in _PASSED_IN if key in request.headers}
        started = time.perf_counter()
        try:
            status, answered, payload = await self._ask(variant, headers, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            status, answered, payload = 0, {}, f"no response from the container: {error!r}".encode()
        fleet.served += 1
        self._metrics.record(name, variant.name, status or 500, (time.perf_counter() - started) * 1e6)
        if status != 200:
            return _model_error(name, variant.name, status, payload)
        answered |= {_INVOKED: variant.name, "x-amzn-RequestId": _request_id()}
        return web.Response(body=payload, headers=answered)

    async def _ask(self, variant: Variant, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._session is None:
            raise aiohttp.ClientConnectionError("the gateway is closed")
        for attempt in (1, 2):
            try:
                async with self._session.post(variant.process.url, data=body, headers=headers) as response:
                    payload = await response.read()
                    answered = {key: response.headers[key] for key in _PASSED_OUT if key in response.headers}
                    return response.status, answered, payload
            except aiohttp.ServerDisconnectedError:
                # The kept connection was closed by the container as the request went out.
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    async def _show_routes(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                name: [_shown(fleet, share) for fleet, share in route.shares]
                for name, route in list(self._routes.items())
            }
        )

    async def _show_health(self, _: web.Request) -> web.Response:
        return web.json_response(self._health())

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._fault_control.show())

    async def _arm(self, request: web.Request) -> web.Response:
        try:
            body = await request.json() if request.can_read_body else {}
            await asyncio.to_thread(self._fault_control.arm, request.match_info["fault"], body)
        except (ValidationError, SwitchError, json.JSONDecodeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self._fault_control.show())

    async def _clear(self, request: web.Request) -> web.Response:
        self._fault_control.clear(request.match_info.get("fault"))
        return web.json_response(self._fault_control.show())


def _shown(fleet: Fleet, percent: float) -> dict[str, Any]:
    return {
        "config": fleet.config_name,
        "percent": percent,
        "served": fleet.served,
        "in_flight": fleet.in_flight,
    }


def _request_id() -> str:
    return str(uuid.uuid4())


def _error(status: int, code: str, message: str, **members: Any) -> web.Response:
    headers = {"x-amzn-ErrorType": code, "x-amzn-RequestId": _request_id()}
    return web.json_response({"Message": message, **members}, status=status, headers=headers)


def _model_error(endpoint: str, variant: str, status: int, payload: bytes) -> web.Response:
    message = payload.decode(errors="replace")[:2048]
    side = "client" if 400 <= status < 500 else "server"
    return _error(
        424,
        "ModelError",
        f'Received {side} error ({status}) from {variant} with message "{message}". '
        f"See logs/endpoints/{endpoint} in the lake for more information.",
        OriginalStatusCode=status or 500,
        OriginalMessage=message,
        LogStreamArn="",
    )
