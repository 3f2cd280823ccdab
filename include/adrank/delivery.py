"""A Kafka producer that waits when its queue is full and says what did not arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Producer

from adrank.contracts.settings import Events

_NAMED: Final = 3


class NotDeliveredError(RuntimeError):
    """Some messages did not reach Kafka; the text says how many, names the first of them, and why."""


class Delivery:
    """Thread-safe. ``name`` turns a message's bytes into what an error calls it."""

    def __init__(self, events: Events, topic: str, name: Callable[[Any], str], **more: object) -> None:
        self._topic = topic
        self._name = name
        self._failures: list[str] = []
        # One request at a time keeps the order through retries where the broker's own sequence numbers do not.
        order = {"enable.idempotence": True} if events.idempotence else {"max.in.flight.requests.per.connection": 1}
        self.producer: Any = Producer(
            {**more, **events.client, "bootstrap.servers": events.brokers, "acks": "all", **order}
        )

    def send(self, **message: Any) -> None:
        """Queue one message; the arguments are those of ``Producer.produce``."""
        while True:
            try:
                self.producer.produce(self._topic, on_delivery=self._delivered, **message)
            except BufferError:
                self.producer.poll(0.1)
            else:
                self.producer.poll(0)
                return

    def flush(self, seconds: float) -> None:
        """Return when Kafka has everything that was sent since the last flush.

        :raises NotDeliveredError: it refused some of it, or did not answer in time; what still waits may yet arrive
        """
        waiting = self.producer.flush(seconds)
        failures, self._failures = self._failures, []
        if failures or waiting:
            unanswered = [f"{waiting} have no answer after {seconds:g} s"] if waiting else []
            said = "; ".join([*failures[:_NAMED], *unanswered])
            raise NotDeliveredError(f"{len(failures) + waiting} messages did not reach {self._topic}: {said}")

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failures.append(f"{self._name(message.value())}: {error.str()}")
