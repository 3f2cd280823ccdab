"""A container's model directory and environment, and the container itself on a loopback port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from adrank.contracts import registry
from serving.inference.app import create_app
from serving.inference.config import ServingConfig
from serving.inference.service import load_service
from tests.include.serving.packages import fixed_slots_package, learned_package
from tests.support.online_stores import (
    REGION,
    TABLE,
    RedisServer,
    account,
    dynamodb,
    free_port,
    redis_server,
    rows,
    shared_redis,
)

__all__ = ["account", "dynamodb", "redis_server", "rows", "shared_redis"]


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Base directory of a container with a learned model, and the package's digest."""
    base = tmp_path_factory.mktemp("learned")
    return base, learned_package(base / "model")


@pytest.fixture(scope="session")
def fixed_slots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Base directory of a container with the fixed-slot ranker, and the package's digest."""
    base = tmp_path_factory.mktemp("fixed-slots")
    return base, fixed_slots_package(base / "model")


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, dynamodb: Any
) -> Callable[[Path, str], dict[str, str]]:
    """Sets and returns the variables of a container with patient stores."""

    def set_environment(base: Path, digest: str) -> dict[str, str]:
        variables = {
            "SAGEMAKER_BASE_DIR": str(base),
            "ADRANK_PACKAGE_DIGEST": digest,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis_server.port),
            "REDIS_TLS": "false",
            "REDIS_TIMEOUT_MS": "5000",
            "DYNAMODB_TIMEOUT_MS": "5000",
            "FEATURES_TABLE": TABLE,
            "AWS_REGION": REGION,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return variables

    return set_environment


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


@pytest.fixture
def container(learned: tuple[Path, str], environment: Callable[[Path, str], dict[str, str]]) -> Iterator[httpx.Client]:
    """The learned model, served."""
    environment(*learned)
    with served(create_app(load_service(ServingConfig.from_env(), registry.load()))) as client:
        yield client
