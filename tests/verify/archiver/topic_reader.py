"""Reads a topic from its begin while it is written, so that what retention deletes is counted before it goes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from adrank.contracts.settings import Events
from stack.servers.broker_log import BrokerLog
from tests.support.child_process import eventually
from tests.support.kafka_broker import StoreProcess


class TopicReader:
    """Counts every message of a topic by its value; heartbeats count as empty."""

    def __init__(self, events: Events, topic: str, partitions: int) -> None:
        client = {"bootstrap.servers": events.brokers, **events.client, "group.id": f"account-{topic}"}
        self._consumer = Consumer({**client, "enable.partition.eof": True, "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        self._found: Counter[bytes] = Counter()
        self._positions = dict.fromkeys(range(partitions), 0)
        self._at_end = dict.fromkeys(range(partitions), False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def position(self, partition: int) -> int:
        """The offset up to which messages are counted."""
        return self._positions[partition]

    def finish(self, least: Mapping[int, int]) -> Counter[bytes]:
        """Read to the end of every partition, which is at least at these offsets; returns what was counted."""
        eventually(lambda: all(self._at_end.values()) and all(self.position(p) >= least[p] for p in least), seconds=60)
        self.close()
        return self._found

    def close(self) -> None:
        """Stop reading; a second call does nothing."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    value = message.value() or b""
                    self._found[b"" if b'"heartbeat"' in value else value] += 1
                    self._positions[message.partition()] = message.offset() + 1
                    self._at_end[message.partition()] = False
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._at_end[message.partition()] = True


class CountedLog(BrokerLog):
    """Deletes nothing that a reader has not counted yet."""

    def __init__(self, store: StoreProcess, topic: str, reader: TopicReader) -> None:
        super().__init__(store.connect().client, store.bucket, topic)
        self._reader = reader
        self.deleted = 0

    def delete_before(self, partition: int, offset: int) -> int:
        """As the log does, and count the batches that went."""
        count = super().delete_before(partition, min(offset, self._reader.position(partition)))
        self.deleted += count
        return count
