"""A container's model directory and environment, and the container itself on a loopback port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adrank.contracts import registry
from adrank.contracts.entry_points.serving import ServingEnvironment
from serving.inference.app import create_app
from serving.inference.service import load_service
from tests.include.serving.containers import served
from tests.include.serving.packages import learned_package
from tests.support.online_stores import REGION, TABLE, RedisServer
from training.package_incumbent import package_incumbent


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Base directory of a container with a learned model, and the package's digest."""
    base = tmp_path_factory.mktemp("learned")
    return base, learned_package(base / "model")


@pytest.fixture(scope="session")
def fixed_slots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Base directory of a container with the fixed-slot ranker, and the package's digest."""
    base = tmp_path_factory.mktemp("fixed-slots")
    return base, package_incumbent(base / "model")


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


@pytest.fixture
def container(learned: tuple[Path, str], environment: Callable[[Path, str], dict[str, str]]) -> Iterator[httpx.Client]:
    """The learned model, served."""
    environment(*learned)
    with served(create_app(load_service(ServingEnvironment.read(), registry.load()))) as client:
        yield client
