"""The event log as the serving path writes it: what users were shown and did, to Kafka.

Sending only queues; :meth:`EventLog.flush` says whether everything arrived. Events of one search have one key and keep
their order. Delivery is at least once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from confluent_kafka import KafkaException

from adrank import event_messages
from adrank.contracts.settings import Events
from adrank.delivery import Delivery
from serving.router import Routed

_METADATA_SECONDS: Final = 10


class EventLogError(RuntimeError):
    """Kafka does not say which partitions the topic has."""


class EventLog:
    """Thread-safe; one per process."""

    def __init__(self, events: Events) -> None:
        self._topic = events.topic
        # Java's clients partition by murmur2 too, so that producers of both kinds agree on a search's partition.
        options = {"client.id": "adrank-event-log", "linger.ms": 20, "partitioner": "murmur2_random"}
        self._delivery = Delivery(events, events.topic, _name, **options)

    def impressions(self, request: Mapping[str, Any], routed: Routed, session_id: str | None = None) -> list[str]:
        """Log that the user saw every candidate of a rank request, in the router's order; returns the event ids.

        An id is made of search and ad: logging a search twice is logging it once.
        """
        candidates = {candidate["ad_id"]: candidate for candidate in request["candidates"]}
        rows = [
            {
                "event_id": f"impression-{request['search_id']}-{ad_id}",
                "event_type": "impression",
                "event_time": _moment(request["event_time"]),
                "user_id": request["user_id"],
                "session_id": session_id,
                "search_id": request["search_id"],
                "ad_id": ad_id,
                "position": position,
                "model_version": routed.exposure.model_version,
                "experiment_id": routed.exposure.experiment_id,
                "variant": routed.exposure.variant,
                "context": candidates[ad_id].get("context", {}),
            }
            for position, ad_id in enumerate(routed.ranking, 1)
        ]
        self.send(rows)
        return [str(row["event_id"]) for row in rows]

    def send(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log events: mappings with the columns of the raw event, null or absent where there is nothing to say.

        :raises EventMessageError: a row cannot be an event; those before it are sent
        """
        for row in rows:
            self._delivery.send(key=event_messages.key(row), value=event_messages.encode(row))

    def heartbeat(self, moment: datetime) -> None:
        """Say on every partition that no event before ``moment`` is to be expected any more.

        :raises EventLogError: the brokers do not say which partitions there are
        """
        value = event_messages.heartbeat(moment)
        for partition in self._partitions():
            self._delivery.send(value=value, partition=partition)

    def flush(self, seconds: float = 30) -> None:
        """Return when Kafka has everything that was sent since the last flush.

        :raises NotDeliveredError: it has not, because it refused or did not answer in time
        """
        self._delivery.flush(seconds)

    def _partitions(self) -> list[int]:
        try:
            topic = self._delivery.producer.list_topics(self._topic, timeout=_METADATA_SECONDS).topics[self._topic]
        except KafkaException as error:
            raise EventLogError(f"no metadata of {self._topic}: {error}") from error
        if not topic.partitions:
            raise EventLogError(f"topic {self._topic} is not there")
        return sorted(topic.partitions)


def _name(value: bytes) -> str:
    said = json.loads(value)
    return f"event {said['event_id']}" if "event_id" in said else f"{said['event_type']} of {said['event_time']}"


def _moment(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
