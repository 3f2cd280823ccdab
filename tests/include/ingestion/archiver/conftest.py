"""A broker in memory and an object store beside it, for all tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.include.ingestion.archiver.stream import Stream
from tests.support.kafka_broker import Broker, StoreProcess


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    made = StoreProcess(tmp_path_factory.mktemp("store"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("broker"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def make_stream(broker: Broker, object_store: StoreProcess) -> Callable[..., Stream]:
    def make(**settings: Any) -> Stream:
        return Stream(broker, object_store, **settings)

    return make


@pytest.fixture
def stream(make_stream: Callable[..., Stream]) -> Stream:
    return make_stream()
