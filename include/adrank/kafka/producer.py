"""A Kafka producer that waits when its queue is full and says what did not arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from adrank.contracts.settings import Events

_MAX_EXAMPLES: Final = 3


class DeliveryError(RuntimeError):
    """Some messages did not reach Kafka; the text says how many, names the first of them, and why."""


class ReliableProducer:
    """Thread-safe. ``name`` turns a message's bytes into what an error calls it."""

    def __init__(self, events: Events, topic: str, name: Callable[[Any], str], **more: object) -> None:
        self._topic = topic
        self._name = name
        self._failures: list[str] = []
        # One request at a time keeps the order through retries where the broker's own sequence numbers do not.
        order = {"enable.idempotence": True} if events.idempotence else {"max.in.flight.requests.per.connection": 1}
        # Java's clients partition by murmur2 too, so that producers of both kinds agree on a search's partition.
        places = {"partitioner": "murmur2_random"}
        self.producer: Any = Producer(
            {**places, **more, **events.client, "bootstrap.servers": events.brokers, "acks": "all", **order}
        )

    def send(self, *, too_large: Callable[[], None] | None = None, **message: Any) -> None:
        """Queue one message; the arguments are those of ``Producer.produce``.

        ``too_large`` is called in place of an error, at the latest by :meth:`flush`, when the message is larger than
        this producer or the broker takes.
        """
        delivered = partial(self._delivered, too_large)
        while True:
            try:
                self.producer.produce(self._topic, on_delivery=delivered, **message)
            except BufferError:
                self.producer.poll(0.1)
            except KafkaException as error:
                if too_large is None or not _is_size(error.args[0]):
                    raise
                too_large()
                return
            else:
                self.producer.poll(0)
                return

    def flush(self, seconds: float) -> None:
        """Return when Kafka has everything that was sent since the last flush.

        :raises DeliveryError: it refused some of it, or did not answer in time; what still waits may yet arrive
        """
        waiting = self.producer.flush(seconds)
        failures, self._failures = self._failures, []
        if failures or waiting:
            unanswered = [f"{waiting} have no answer after {seconds:g} s"] if waiting else []
            reasons = "; ".join([*failures[:_MAX_EXAMPLES], *unanswered])
            raise DeliveryError(f"{len(failures) + waiting} messages did not reach {self._topic}: {reasons}")

    def _delivered(self, too_large: Callable[[], None] | None, error: Any, message: Any) -> None:
        if error is None:
            return
        if too_large is not None and _is_size(error):
            too_large()
        else:
            self._failures.append(f"{self._name(message.value())}: {error.str()}")


def _is_size(error: Any) -> bool:
    return bool(error.code() == KafkaError.MSG_SIZE_TOO_LARGE)
