"""One topic and one lake, the archiver between them, and what a test says to the one and reads in the other."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, Producer, TopicPartition

from adrank.contracts import lake
from adrank.contracts.manifests import RawManifest
from adrank.contracts.settings import Events
from adrank.kafka.messages import encode
from adrank.storage.object_store import ObjectStore
from ingestion.archiver.archiver import Archiver
from ingestion.archiver.metrics import Metrics
from ingestion.landing.event_table import EVENT_SCHEMA
from serving.router.event_log import EventLog
from tests.support.child_process import eventually
from tests.support.kafka_broker import Broker, StoreProcess

HOUR = datetime(2026, 5, 4, 10, tzinfo=UTC)
T = TypeVar("T")
_serial = itertools.count()


def row(event_id: str, moment: datetime, **more: Any) -> dict[str, Any]:
    """A click; whatever ``more`` says is different."""
    plain = {"event_type": "click", "user_id": "u1", "search_id": f"s-{event_id}", "ad_id": "a1", "position": 1}
    return {"event_id": event_id, "event_time": moment, **plain, **more}


class Stream:
    """Starts with an empty topic of three partitions and an empty bucket."""

    def __init__(self, broker: Broker, store: StoreProcess, **settings: Any) -> None:
        number = next(_serial)
        client = store.client()
        client.create_bucket(Bucket=f"lake-{number}")
        self.lake = ObjectStore(f"lake-{number}", client)
        plain = {
            "brokers": broker.address,
            "client": {**broker.client, "log_level": "0"},
            "idempotence": False,
            "topic": f"events-{number}",
            "dead_letter_topic": f"events-{number}.dead",
            "flush_interval": timedelta(seconds=0.1),
            "max_future": timedelta(days=10_000),
            "heartbeat_interval": timedelta(0),
            "clock_skew": timedelta(days=10_000),
        }
        self.events = Events(**{**plain, **settings})
        broker.create_topics(3, [self.events.topic])
        broker.create_topics(1, [self.events.dead_letter_topic])
        self.log = EventLog(self.events)
        self._errors: list[BaseException] = []

    def say(self, *rows: dict[str, Any]) -> None:
        self.log.send(rows)
        self.log.flush()

    def say_raw(self, *values: bytes) -> None:
        for value in values:
            self.log._producer.send(key=b"raw", value=value)
        self.log.flush()

    def say_to(self, partition: int, *rows: dict[str, Any]) -> None:
        for message in rows:
            self.log._producer.send(value=encode(message), partition=partition)
        self.log.flush()

    def say_large(self, value: bytes) -> None:
        """As a producer does whose limit is higher than librdkafka's default."""
        client = {"bootstrap.servers": self.events.brokers, **self.events.client, "message.max.bytes": 10_000_000}
        producer = Producer(client)
        producer.produce(self.events.topic, key=b"large", value=value)
        assert producer.flush(30) == 0

    def reach(self, moment: datetime) -> None:
        """Heartbeats: the clock of every partition."""
        self.log.heartbeat(moment)
        self.log.flush()

    def letters(self, count: int) -> list[Any]:
        """The first messages of the dead-letter topic."""
        consumer = Consumer({"bootstrap.servers": self.events.brokers, "group.id": "reader", **self.events.client})
        consumer.assign([TopicPartition(self.events.dead_letter_topic, 0, 0)])
        found = consumer.consume(count, 10)
        consumer.close()
        return list(found)

    @contextmanager
    def archived(self, instance: int = 0, instances: int = 1, **settings: Any) -> Iterator[Metrics]:
        """An archiver runs; at the end it rolls what it holds."""
        metrics, stop = Metrics(), threading.Event()
        events = self.events.model_copy(update=settings)

        def run() -> None:
            try:
                Archiver(self.lake, events, metrics, stop, instance, instances).run()
            except BaseException as error:
                self._errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield metrics
        finally:
            stop.set()
            thread.join(30)
            if self._errors:
                raise self._errors.pop()

    def manifest(self, hour: datetime) -> RawManifest | None:
        body = self.lake.find(lake.RAW_EVENTS.manifest(hour))
        return None if body is None else RawManifest.model_validate_json(body)

    def until(self, what: Callable[[], T], wanted: Callable[[T], bool] = bool) -> T:
        """Poll until it is as wanted, as long as the archiver lives."""

        def look() -> T:
            assert not self._errors, self._errors
            return what()

        return eventually(look, wanted, 20)

    def closed(self, hour: datetime, revision: int = 0) -> RawManifest:
        """The hour's manifest, once it is there in this revision."""
        found = self.until(lambda: self.manifest(hour), lambda m: m is not None and m.revision >= revision)
        assert found is not None
        return found

    def rows(self, hour: datetime) -> pa.Table:
        """What a reader of manifests sees of an hour."""
        manifest = self.manifest(hour)
        assert manifest is not None
        keys = [lake.RAW_EVENTS.hour(hour) + file.name for file in manifest.files]
        return pa.concat_tables([EVENT_SCHEMA.empty_table(), *(read(self.lake.get(key)) for key in keys)])

    def ids(self, hour: datetime) -> list[str]:
        return sorted(self.rows(hour)["event_id"].to_pylist())


def read(body: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(body))


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """A metric's value now; 0 when it was never touched."""
    return metrics.registry.get_sample_value(name, labels) or 0.0
