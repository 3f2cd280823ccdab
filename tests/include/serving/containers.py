"""The container's application on a loopback port, and a request for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from tests.support.online_stores import AS_OF
from tests.support.ports import free_port


def request(ads: int = 3, **changes: Any) -> dict[str, Any]:
    candidates = [
        {"ad_id": f"a{n}", "seller_id": "s1", "category": f"c{n % 2}", "context": {"query_match": 10.0 * n}}
        for n in range(ads)
    ]
    return {
        "search_id": "q1",
        "user_id": "u|1",
        "event_time": AS_OF.isoformat(),
        "candidates": candidates,
    } | changes


@contextmanager
def served(app: Starlette) -> Iterator[httpx.Client]:
    """The application behind a real HTTP server."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        give_up = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < give_up, "the server did not come up"
            time.sleep(0.005)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)
