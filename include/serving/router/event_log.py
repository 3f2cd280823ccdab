"""The event log as the serving path writes it: what users were shown and did, to Kafka.

Sending only queues; :meth:`EventLog.flush` says whether everything arrived. Events of one search have one key and keep
their order. Delivery is at least once.

While it is open, an event log beats: every ``events.heartbeat_interval`` it sends the wall clock to every partition as
a heartbeat, so that hours are closed on a night without users too. A beat promises no more than an event of that moment
does. In its partition it stands behind everything that this process sent before; what is on its way elsewhere (a search
that is being ranked, the queue of another process) may be older by as much as the grace, ``events.grace``, which the
archiver takes off all clocks before it closes an hour. Who sends events of another clock than the wall's (simulated, or
of the past) sets ``heartbeat_interval`` to 0 and calls :meth:`EventLog.heartbeat` with that clock.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import KafkaException

from adrank.contracts.settings import Events
from adrank.kafka import messages
from adrank.kafka.producer import ReliableProducer
from serving.router.router import RankResult

_log = logging.getLogger(__name__)
_METADATA_SECONDS: Final = 10
#: Some searches share a batch: brokers and archiver pay by the batch. A process that is killed loses as much more.
_LINGER_MS: Final = 250


class EventLogError(RuntimeError):
    """Kafka does not say which partitions the topic has."""


class EventLog:
    """Thread-safe; one per process, made after the process has forked. It beats from now on until it is closed."""

    def __init__(self, events: Events) -> None:
        self._topic = events.topic
        options = {"client.id": "adrank-event-log", "linger.ms": _LINGER_MS}
        self._producer = ReliableProducer(events, events.topic, _name, **options)
        self._frame = messages.frame(events.schema_id)
        self._closed = threading.Event()
        self._heartbeat_thread: threading.Thread | None = None
        if events.heartbeat_interval:
            seconds = events.heartbeat_interval.total_seconds()
            self._heartbeat_thread = threading.Thread(
                target=self._send_heartbeats, args=(seconds,), name="event-log-heartbeats", daemon=True
            )
            self._heartbeat_thread.start()

    def impressions(self, request: Mapping[str, Any], result: RankResult, session_id: str | None = None) -> list[str]:
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
                "model_version": result.exposure.model_version,
                "experiment_id": result.exposure.experiment_id,
                "variant": result.exposure.variant,
                "context": candidates[ad_id].get("context", {}),
            }
            for position, ad_id in enumerate(result.ranking, 1)
        ]
        self.send(rows)
        return [str(row["event_id"]) for row in rows]

    def send(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log events: mappings with the columns of the raw event, null or absent where there is nothing to say.

        :raises EventMessageError: a row cannot be an event; those before it are sent
        """
        for row in rows:
            self._producer.send(key=messages.key(row), value=self._frame + messages.encode(row))

    def heartbeat(self, moment: datetime) -> None:
        """Say on every partition that no event before ``moment`` is to be expected any more.

        :raises EventLogError: the brokers do not say which partitions there are
        """
        for message in self._heartbeats(moment):
            self._producer.send(**message)

    def flush(self, seconds: float = 30) -> None:
        """Return when Kafka has everything that was sent since the last flush.

        :raises NotDeliveredError: it has not, because it refused or did not answer in time
        """
        self._producer.flush(seconds)

    def close(self) -> None:
        """Beat no more. Flush before, or what still waits may be lost with the process."""
        self._closed.set()
        if self._heartbeat_thread is not None:
            self._heartbeat_thread.join()

    def _send_heartbeats(self, seconds: float) -> None:
        producer = self._producer.producer
        while not self._closed.wait(seconds):
            try:
                # Not by way of the delivery: a beat that gets lost is no concern of whoever flushes.
                for message in self._heartbeats(datetime.now(UTC)):
                    producer.produce(self._topic, on_delivery=_on_heartbeat, **message)
                producer.poll(0)
            except Exception as error:  # whatever it was, the next beat may arrive
                _log.warning("No heartbeat on %s: %s", self._topic, error)

    def _heartbeats(self, moment: datetime) -> list[dict[str, Any]]:
        value = self._frame + messages.heartbeat(moment)
        message = {"value": value, "headers": messages.HEARTBEAT_HEADERS}
        return [{"partition": partition, **message} for partition in self._partitions()]

    def _partitions(self) -> list[int]:
        try:
            topic = self._producer.producer.list_topics(self._topic, timeout=_METADATA_SECONDS).topics[self._topic]
        except KafkaException as error:
            raise EventLogError(f"no metadata of {self._topic}: {error}") from error
        if not topic.partitions:
            raise EventLogError(f"topic {self._topic} is not there")
        return sorted(topic.partitions)


def _name(value: bytes) -> str:
    message = json.loads(messages.unframed(value))
    if message["event_type"] == messages.HEARTBEAT:
        return f"heartbeat of {message['event_time']}"
    return f"event {message['event_id']}"


def _on_heartbeat(error: Any, _: Any) -> None:
    if error is not None:
        _log.warning("A heartbeat is lost: %s", error.str())


def _moment(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
