"""Steady throughput of the archiver on one core, beside a bare consumer that drops what it reads.

    python -m benchmarks.archiver_throughput [--full] [--messages N] [--rounds N]

Both read the same topic with the same client and process settings, pinned to one core; broker and object store have the
other. The clock runs from the first batch to the last message, for the archiver to the last checkpoint. Rounds
alternate and the medians are compared. Two brokers, because they ask different things: the durable one, as the stack
runs it, is itself what holds a bare consumer back; against the one in memory a bare consumer is as fast as its own core
lets it be.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from adrank.contracts.settings import Events
from adrank.kafka.messages import encode
from adrank.kafka.producer import ReliableProducer
from adrank.storage.object_store import ObjectStore
from benchmarks.results import parse_sizes, record
from ingestion.archiver.archiver import Archiver, tune_process
from ingestion.archiver.metrics import Metrics
from tests.support.kafka_broker import Broker, StoreProcess

OUR_CORE, THEIR_CORE = "0", "1"
PARTITIONS = 3
CONTEXT = ("slot", "query_match", "distance_km", "price_rank", "hour_of_day")
START = 1_780_000_000_000_000


def message(number: int) -> dict[str, Any]:
    """An event as live traffic makes them: 10 to a search, four of five impressions; about 400 bytes."""
    shown = number % 10 < 8
    mixed = number * 2_654_435_761 % 2**32
    return {
        "event_id": f"{'impression' if shown else 'click'}-s{number // 10:08d}-{number % 10}",
        "event_type": "impression" if shown else "click",
        "event_time": START + number * 300,
        "user_id": f"u{mixed % 20_000:06d}",
        "session_id": f"x{number // 30:07d}",
        "search_id": f"s{number // 10:08d}",
        "ad_id": f"ad-{mixed % 19_997:06d}",
        "position": number % 10 + 1,
        "model_version": "0123456789ab",
        "experiment_id": "exp-20260501",
        "variant": "control",
        "context": {name: mixed % (97 + i) / 97 for i, name in enumerate(CONTEXT)} if shown else None,
    }


def consume(events: Events, messages: int) -> dict[str, float]:
    """The peer: reads and drops."""
    tune_process()
    consumer = Consumer(
        {
            "queued.max.messages.kbytes": 64 * 1024,
            "fetch.queue.backoff.ms": 20,
            "fetch.wait.max.ms": 500,
            **events.client,
            "bootstrap.servers": events.brokers,
            "group.id": "bare",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(events.topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    seen, began, used = len(consumer.consume(1, 30)), time.perf_counter(), time.process_time()
    while seen < messages:
        seen += len(consumer.consume(20_000, 0.2))
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def archive(lake: str, events: Events, messages: int) -> dict[str, float]:
    """Ours: lands everything, and closes the hours."""
    tune_process()
    archiver = Archiver(ObjectStore.connect(lake), events, Metrics(), threading.Event(), 0, 1)
    while not read(archiver):
        archiver.step()
    began, used = time.perf_counter(), time.process_time()
    while read(archiver) < messages:
        archiver.step()
    archiver.finish()
    landed = sum(archiver._flusher.checkpoint(partition).rows for partition in range(PARTITIONS))
    assert landed == messages, f"{landed} rows landed of {messages}"
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def read(archiver: Archiver) -> int:
    return sum(held.next_offset or 0 for held in archiver._buffers.values())


def measure(who: str, lake: str, events: Events, messages: int, environment: dict[str, str]) -> dict[str, float]:
    """One run in a process of its own, on its own core."""
    command = [sys.executable, "-m", __spec__.name, who, lake, events.model_dump_json(), str(messages)]
    pinned = ["taskset", "--cpu-list", OUR_CORE, *command]
    done = subprocess.run(pinned, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE)  # noqa: S603
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare(messages: int, rounds: int, durable: bool) -> float:
    """The ratio of the medians. A durable broker keeps its log in an object store, as the stack's does."""
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory(prefix="archiver-bench-") as directory:
        store = StoreProcess(Path(directory), bucket="broker", pin=THEIR_CORE)
        broker = Broker(Path(directory), storage=store if durable else None, pin=THEIR_CORE)
        store.start()
        broker.start()
        try:
            events = Events(
                brokers=broker.address,
                client=broker.client,
                idempotence=False,
                max_future=timedelta(days=10_000),
                clock_skew=timedelta(days=10_000),
                grace=timedelta(0),
            )
            broker.create_topics(PARTITIONS, [events.topic, events.dead_letter_topic])
            produce(events, messages)
            for number in range(rounds):
                for who in ("peer", "ours"):
                    lake = f"lake-{number}"
                    (store.config.lake_dir / lake).mkdir(exist_ok=True)
                    run = measure(who, lake, events, messages, store.client_environment)
                    rates[who].append(messages / run["seconds"])
                    print(
                        f"{who}: {rates[who][-1]:,.0f}/s, {1e6 * run['cpu'] / messages:.2f} us of CPU a message",
                        flush=True,
                    )
        finally:
            broker.kill()
            store.kill()
    ours, peer = (statistics.median(rates[who]) for who in ("ours", "peer"))
    name = f"archiver throughput, one core, {'durable' if durable else 'in-memory'} broker"
    return record(name, ours, peer, "bare confluent-kafka consumer", "messages/s")


def produce(events: Events, messages: int) -> None:
    producer = ReliableProducer(events, events.topic, lambda _: "event", **{"linger.ms": 50, "batch.size": 1_000_000})
    for number in range(messages):
        row = message(number)
        producer.send(key=row["search_id"], value=encode(row))
    producer.flush(120)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in ("ours", "peer"):
        who, lake, events, messages = sys.argv[1:]
        settings, count = Events.model_validate_json(events), int(messages)
        print(json.dumps(consume(settings, count) if who == "peer" else archive(lake, settings, count)))
        return
    args = parse_sizes("Archiver throughput beside a bare consumer.", messages=1_000_000, rounds=3)
    for durable in (True, False):
        compare(args.messages, args.rounds, durable=durable)


if __name__ == "__main__":
    main()
