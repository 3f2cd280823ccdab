"""What the archiver has in the lake goes from the broker's log, and nothing else does, whatever dies meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from adrank.contracts import lake
from ingestion.archiver.checkpoints import Checkpoint
from stack.servers.broker_log import BrokerLog, BrokerLogError
from stack.servers.broker_retention import Retention
from tests.support.kafka_broker import Broker, StoreProcess

pytestmark = pytest.mark.stack

TOPIC, PARTITIONS, BATCH = "events", 2, 10


class World:
    """A broker with its log's store, and a lake whose checkpoints the test writes."""

    def __init__(self, directory: Path) -> None:
        self.store = StoreProcess(directory, bucket="broker", sole_writer=True)
        self.store.start()
        self.broker = Broker(directory, storage=self.store)
        self.broker.start()
        self.broker.create_topics(PARTITIONS, [TOPIC])
        self.s3 = self.store.connect().client
        self.s3.create_bucket(Bucket="lake")
        self.lake = self.store.connect()
        self.lake.bucket = "lake"
        self.log = BrokerLog(self.s3, "broker", TOPIC)
        self.retention = Retention(self.log, self.lake, TOPIC, PARTITIONS)
        client = {"bootstrap.servers": self.broker.address, **self.broker.client, "log_level": 0}
        self._producer = Producer({**client, "linger.ms": 5000, "max.in.flight": 1})
        self._client = client
        self.sent = 0

    def produce(self, batches: int, partition: int = 0) -> None:
        """So many batches of ``BATCH`` messages each; a message is its own offset when all go to one partition."""
        for _ in range(batches):
            for _ in range(BATCH):
                self._producer.produce(TOPIC, value=b"%d" % self.sent, partition=partition)
                self.sent += 1
            assert self._producer.flush(30) == 0

    def archived(self, offset: int | None, partition: int = 0) -> None:
        """The archiver's checkpoint is at this offset."""
        found = Checkpoint(topic=TOPIC, partition=partition, next_offset=offset)
        self.lake.put(lake.archiver_checkpoint(TOPIC, partition), found.model_dump_json().encode())

    def read(self, offset: int, count: int, partition: int = 0) -> list[int]:
        """The next messages from an offset on, as a consumer that goes on nowhere else sees them."""
        consumer = Consumer({**self._client, "group.id": "test", "auto.offset.reset": "error"})
        consumer.assign([TopicPartition(TOPIC, partition, offset)])
        found = consumer.consume(count, 20)
        consumer.close()
        assert not [message.error() for message in found if message.error()]
        return [int(message.value()) for message in found]

    def watermark(self, partition: int = 0) -> dict[str, Any]:
        key = f"clusters/tansu_cluster/topics/{TOPIC}/partitions/{partition:010}/watermark.json"
        found: dict[str, Any] = json.loads(self.s3.get_object(Bucket="broker", Key=key)["Body"].read())
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.broker.kill()
    made.store.kill()


def test_batches_that_the_checkpoint_has_passed_are_deleted_but_not_its_own(world: World) -> None:
    world.produce(5)
    world.archived(25)
    assert world.retention.run_once() == 2
    assert world.log.base_offsets(0) == [20, 30, 40]
    assert world.read(25, 25) == list(range(25, 50))


def test_the_last_batch_stays_though_all_of_it_is_archived(world: World) -> None:
    world.produce(3)
    world.archived(30)
    assert world.retention.run_once() == 2
    world.produce(1)
    assert world.log.base_offsets(0) == [20, 30]
    assert world.read(30, 10) == list(range(30, 40))


@pytest.mark.parametrize("offset", [None, 0, 9])
def test_nothing_is_deleted_that_no_checkpoint_has_passed(world: World, offset: int | None) -> None:
    world.produce(3)
    assert world.retention.run_once() == 0
    world.archived(offset)
    assert world.retention.run_once() == 0
    assert world.log.base_offsets(0) == [0, 10, 20]
    assert world.watermark()["low"] is None


def test_each_partition_has_its_own_checkpoint(world: World) -> None:
    world.produce(3, partition=0)
    world.produce(3, partition=1)
    world.archived(30, partition=1)
    assert world.retention.run_once() == 2
    assert (world.log.base_offsets(0), world.log.base_offsets(1)) == ([0, 10, 20], [20])


def test_who_starts_at_the_logs_begin_starts_behind_what_was_deleted(world: World) -> None:
    world.produce(4)
    world.archived(20)
    world.retention.run_once()
    assert world.watermark() == {"low": 20, "high": 40, "timestamps": None}
    world.produce(1)
    assert world.watermark() == {"low": 20, "high": 50, "timestamps": None}
    assert world.read(OFFSET_BEGINNING, 30) == list(range(20, 50))


def test_a_killed_broker_and_a_killed_store_find_the_log_as_it_was(world: World) -> None:
    world.produce(4)
    world.archived(25)
    world.retention.run_once()
    world.broker.kill()
    world.store.kill()
    world.store.start()
    world.broker.start()
    assert world.read(25, 15) == list(range(25, 40))
    world.produce(2)
    assert world.read(25, 35) == list(range(25, 60))
    world.archived(60)
    assert world.retention.run_once() == 3


def test_when_the_broker_moves_the_watermark_meanwhile_nothing_is_deleted(
    world: World,
) -> None:
    world.produce(3)
    world.archived(30)
    meanwhile = iter([lambda: world.produce(1)])
    world.s3.meta.events.register("before-send.s3.PutObject", lambda **_: next(meanwhile, lambda: None)())
    with pytest.raises(BrokerLogError, match="low watermark"):
        world.retention.run_once()
    assert world.log.base_offsets(0) == [0, 10, 20, 30]
    assert world.retention.run_once() == 3
    assert world.log.base_offsets(0) == [30]


def test_while_the_store_refuses_writes_nothing_is_deleted(world: World) -> None:
    world.produce(3)
    world.archived(30)
    world.store.refuse_writes(30)
    with pytest.raises(BrokerLogError):
        world.retention.run_once()
    world.store.allow_writes()
    assert world.log.base_offsets(0) == [0, 10, 20]
    assert world.retention.run_once() == 2


def test_wherever_the_checkpoint_stands_all_from_it_on_is_read(world: World) -> None:
    dice, passed = random.Random(5), 0
    for _ in range(12):
        world.produce(dice.randint(1, 4))
        passed = dice.randint(passed, world.sent)
        world.archived(passed)
        world.retention.run_once()
        assert world.log.base_offsets(0)[0] <= passed
        assert world.read(passed, world.sent - passed) == list(range(passed, world.sent))
    assert world.log.base_offsets(0)[0] > 0
