"""A topic and a bucket for a test of the archiver, or of what does its work on Kafka Connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.include.ingestion.archiver.stream import Stream
from tests.support.kafka_broker import Broker, StoreProcess


@pytest.fixture
def make_stream(broker: Broker, object_store: StoreProcess) -> Callable[..., Stream]:
    def make(**settings: Any) -> Stream:
        return Stream(broker, object_store, **settings)

    return make


@pytest.fixture
def stream(make_stream: Callable[..., Stream]) -> Stream:
    return make_stream()
