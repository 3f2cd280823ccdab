"""The consumer: this instance's partitions by assignment, from offsets that the checkpoints say.

There is no consumer group to join: who owns a partition is settled by the instance's number and the checkpoint. Offsets
are committed to the group all the same, so that any Kafka tool can show the lag.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from adrank.contracts.settings import Events

_log = logging.getLogger(__name__)
#: Small enough that what a batch is decoded into stays in the processor's caches.
_BATCH_MESSAGES: Final = 4000
_METADATA_SECONDS: Final = 5
_LAG_SECONDS: Final = 1
_LOST: Final = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)


class OffsetLostError(RuntimeError):
    """Kafka no longer has, or never had, the offset that the checkpoint says to read next."""


class TopicMissingError(RuntimeError):
    """The topic is not there."""


class PartitionConsumer:
    """Messages of some partitions of the topic."""

    def __init__(self, events: Events) -> None:
        self._topic = events.topic
        self._idle_timeout = events.idle_timeout.total_seconds()
        client = {
            "client.id": "adrank-archiver",
            # Nobody waits for single events: a fetch may collect as long as librdkafka lets it by default.
            "fetch.wait.max.ms": 500,
            "reconnect.backoff.ms": 500,
            "queued.max.messages.kbytes": 64 * 1024,
            # By default a full queue is left alone for a second, in which it may run dry.
            "fetch.queue.backoff.ms": 20,
            **events.client,
            "bootstrap.servers": events.brokers,
            "group.id": events.consumer_group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Going on somewhere else would lose or repeat events in silence.
            "auto.offset.reset": "error",
        }
        self._consumer: Any = Consumer(client)
        # A client that reads keeps other threads waiting; this one never reads.
        self._lag_client: Any = Consumer(client)
        self._position: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._at_end: dict[int, bool] = {}
        self._last_message_at: dict[int, float] = {}

    def partitions(self, stop: threading.Event) -> int:
        """How many partitions the topic has; waits for the topic. :class:`TopicMissingError` when stopped before."""
        while not stop.is_set():
            count = self.partition_count()
            if count:
                return count
            _log.warning("Waiting for topic %s", self._topic)
            stop.wait(1)
        raise TopicMissingError(f"topic {self._topic} is not there")

    def partition_count(self) -> int | None:
        """How many partitions the topic has now; None when the brokers do not say."""
        try:
            return len(
                self._consumer.list_topics(self._topic, timeout=_METADATA_SECONDS).topics[self._topic].partitions
            )
        except KafkaException as error:
            _log.warning("No metadata: %s", error)
            return None

    def assign(self, offsets: Mapping[int, int | None]) -> None:
        """Read these partitions from these offsets on; None is the beginning of the log."""
        places = {p: OFFSET_BEGINNING if offset is None else offset for p, offset in offsets.items()}
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in places.items()])
        self._position = {p: offset for p, offset in offsets.items() if offset is not None}
        self._at_end = dict.fromkeys(offsets, False)
        self._last_message_at = dict.fromkeys(offsets, time.monotonic())

    def poll(self, seconds: float) -> dict[int, list[Any]]:
        """Messages by partition, in order of their offsets; nothing when none come in time.

        :raises OffsetLostError: events between the checkpoint and the log's begin are gone
        """
        found: dict[int, list[Any]] = {}
        for message in self._consumer.consume(_BATCH_MESSAGES, seconds):
            error = message.error()
            if error is None:
                found.setdefault(message.partition(), []).append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end[message.partition()] = True
            elif error.code() in _LOST:
                raise OffsetLostError(
                    f"partition {message.partition()} of {self._topic} cannot be read from offset "
                    f"{self._position.get(message.partition())}: {error.str()}"
                )
            else:
                _log.warning("Kafka: %s", error.str())
        now = time.monotonic()
        self._ends = {partition: self._fetched_end(partition) for partition in self._last_message_at}
        for partition, messages in found.items():
            self._position[partition] = messages[-1].offset() + 1
            self._last_message_at[partition] = now
            if self._is_behind(partition):
                self._at_end[partition] = False
        self._refuse_beyond_end(now)
        return found

    def is_idle(self, partition: int) -> bool:
        """Whether it is read to its end and has been silent for long."""
        silent = time.monotonic() - self._last_message_at[partition]
        return self._at_end[partition] and silent >= self._idle_timeout and not self._is_behind(partition)

    def lag(self, partition: int, offset: int | None) -> int | None:
        """Messages that the log holds from ``offset`` (None: its begin) on; None while nobody knows. For any thread.

        Asks the brokers, because a consumer that is held up does not fetch; but some brokers' answer is behind their
        own fetches, so the later of both counts.
        """
        try:
            low, high = self._lag_client.get_watermark_offsets(TopicPartition(self._topic, partition), _LAG_SECONDS)
        except KafkaException:
            low, high = 0, -1
        except RuntimeError:  # it is closed
            return None
        high = max(high, self._ends.get(partition, -1))
        return None if high < 0 else max(high - (max(low, 0) if offset is None else offset), 0)

    def commit(self, offsets: Mapping[int, int | None]) -> None:
        """Tell Kafka's tools how far the lake is. Nothing here depends on it, so a failure is only logged."""
        places = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items() if offset]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            _log.warning("Offsets were not committed: %s", error)

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()
        self._lag_client.close()

    def _refuse_beyond_end(self, now: float) -> None:
        """A log that is shorter than the checkpoint says is another log; not every broker calls that an error."""
        for partition, position in self._position.items():
            high = self._ends[partition]
            if 0 <= high < position and now - self._last_message_at[partition] >= self._idle_timeout:
                raise OffsetLostError(
                    f"partition {partition} of {self._topic} ends at offset {high}, its checkpoint is at {position}: "
                    "was the topic made anew?"
                )

    def _fetched_end(self, partition: int) -> int:
        """The log's end as fetches say it, negative before the first."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return int(high)

    def _is_behind(self, partition: int) -> bool:
        return self._ends.get(partition, -1) > self._position.get(partition, 0)


def assigned_partitions(partitions: int, instance: int, instances: int) -> Sequence[int]:
    """The partitions that are one instance's."""
    return [partition for partition in range(partitions) if partition % instances == instance]
