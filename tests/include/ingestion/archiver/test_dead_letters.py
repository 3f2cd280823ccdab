"""What the dead-letter topic gets where client and broker disagree about sizes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError

from adrank.contracts.settings import Events
from adrank.kafka.producer import DeliveryError
from ingestion.archiver.dead_letters import DeadLetterRecord, DeadLetterTopic

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Sent:
    """Answers for a message that librdkafka queued."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments

    def value(self) -> bytes | None:
        value: bytes | None = self._arguments.get("value")
        return value


class StrictBroker:
    """Stands in for the producer of a topic whose own limit is lower: it refuses only when the report comes."""

    def __init__(self, limit: int, rejection: int = KafkaError.MSG_SIZE_TOO_LARGE) -> None:
        self._limit, self._rejection = limit, rejection
        self._queued: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []

    def produce(self, _topic: str, **arguments: Any) -> None:
        self._queued.append(arguments)

    def poll(self, _seconds: float) -> int:
        return 0

    def flush(self, _seconds: float) -> int:
        for arguments in self._queued:
            report: Callable[[Any, Any], None] = arguments["on_delivery"]
            size = sum(len(arguments.get(part) or b"") for part in ("key", "value"))
            if size > self._limit:
                report(KafkaError(self._rejection), Sent(arguments))
            else:
                self.taken.append(arguments)
                report(None, Sent(arguments))
        self._queued = []
        return 0


def refused(offset: int, key: bytes, value: bytes) -> DeadLetterRecord:
    plain = {"topic": "events", "partition": 0, "kind": "not_json", "reason": "no", "sent_at": NOW, "refused_at": NOW}
    return DeadLetterRecord(**plain, offset=offset, key=key, value=value)


def topic_of(broker: StrictBroker) -> DeadLetterTopic:
    made = DeadLetterTopic(Events(brokers="127.0.0.1:1", client={"log_level": "0"}))
    made._producer.producer = broker
    return made


def test_what_the_broker_finds_too_large_is_sent_again_without_what_makes_it_large() -> None:
    broker = StrictBroker(100)
    letters = [refused(0, b"k", b"v"), refused(1, b"large value", b"v" * 101), refused(2, b"k" * 101, b"large key")]
    topic_of(broker).send({"file": letters})
    taken = {sent["headers"]["source"].decode(): sent for sent in broker.taken}
    assert [(sent.get("key"), sent.get("value"), sent["headers"].get("whole")) for sent in taken.values()] == [
        (b"k", b"v", None),
        (b"large value", None, b"101 bytes in file"),
        (None, None, b"9 bytes in file"),
    ]
    assert {sent["headers"]["reason"] for sent in broker.taken} == {b"no"}


def test_what_the_broker_refuses_for_another_reason_is_an_error() -> None:
    with pytest.raises(DeliveryError, match="1 messages did not reach"):
        topic_of(StrictBroker(0, KafkaError.TOPIC_AUTHORIZATION_FAILED)).send({"file": [refused(0, b"k", b"v")]})
