"""A stream of known events through a real broker, archiver process and object store, and the account at its end."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from adrank.contracts import lake, metrics, timestamps
from adrank.contracts.manifests import RawManifest
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import HOUR, floor_hour
from adrank.kafka.messages import encode
from ingestion.archiver import checkpoints, dead_letters
from serving.router.event_log import EventLog
from stack.servers.broker_retention import Retention
from tests.support.child_process import eventually
from tests.support.kafka_broker import Broker, StoreProcess
from tests.support.ports import free_port
from tests.verify.archiver.topic_reader import CountedLog, TopicReader

START = datetime(2026, 5, 4, 10, tzinfo=UTC)
SPEED = 120  # event seconds in a second: a minute of traffic is two hours of events
PARTITIONS = 3
EVENTS_PER_SECOND = 3000
DUPLICATES, LATE, POISON = 0.05, 0.05, 0.001
LATEST = timedelta(hours=3)
TICK = 0.02
RETENTION_INTERVAL = 0.5


class ArchiverProcess:
    """``python -m ingestion.archiver``, started again whenever it ends, until stopped."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._log = log
        self._changing = threading.Lock()
        self.exit_codes: list[int] = []
        self._process = self._start()

    def kill(self) -> None:
        with self._changing:
            self._process.kill()
            self._restart()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def end(self) -> None:
        """Leave nothing behind, whatever went wrong before."""
        with self._changing:
            self._process.kill()
            self._process.wait(30)

    def watch(self) -> None:
        """Start it again if it ended by itself: what a supervisor does."""
        with self._changing:
            if self._process.poll() is not None:
                self._restart()

    def _restart(self) -> None:
        self.exit_codes.append(self._process.wait(30))
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "ingestion.archiver"], env=self._environment, stdout=log, stderr=log
            )


class Campaign:
    """What was sent, and how to count what came of it.

    ``log_store`` is where the broker keeps its log; what is archived is deleted from it all the while.
    """

    def __init__(
        self, directory: Path, broker: Broker, store: StoreProcess, seed: int, log_store: StoreProcess | None = None
    ) -> None:
        self._random = random.Random(seed)
        self._store = store
        self.events = Events(
            brokers=broker.address,
            client=broker.client,
            idempotence=False,
            flush_interval=timedelta(seconds=1),
            flush_rows=4000,
            max_future=timedelta(days=10_000),
            heartbeat_interval=timedelta(0),
            clock_skew=timedelta(days=10_000),
            metrics_port=free_port(),
        )
        self.lake = store.connect()
        broker.create_topics(PARTITIONS, [self.events.topic])
        broker.create_topics(1, [self.events.dead_letter_topic])
        self._reader = TopicReader(self.events, self.events.topic, PARTITIONS)
        self._retention_stop = threading.Event()
        self._retention: threading.Thread | None = None
        self.broker_log: CountedLog | None = None
        if log_store is not None:
            self.broker_log = CountedLog(log_store, self.events.topic, self._reader)
            retention = Retention(self.broker_log, self.lake, self.events.topic, PARTITIONS)
            arguments = (self._retention_stop, RETENTION_INTERVAL)
            self._retention = threading.Thread(target=retention.run, args=arguments, daemon=True)
            self._retention.start()
        self._log = EventLog(self.events)
        self._valid: list[dict[str, Any]] = []
        self.sent: Counter[str] = Counter()
        self.poison: set[bytes] = set()
        self.began = datetime.now(UTC)
        self.archiver = ArchiverProcess(
            {
                **store.client_environment,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "ADRANK_EVENTS": self.events.model_dump_json(),
                "ADRANK_LAKE__BUCKET": store.bucket,
            },
            directory / "archiver.log",
        )

    def run(self, seconds: float, happenings: list[tuple[float, Callable[[], None]]]) -> None:
        """Send at the campaign's rate; let each thing happen at its time."""
        due = sorted(happenings, key=lambda happening: happening[0])
        began, number = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            while due and due[0][0] <= elapsed:
                threading.Thread(target=due.pop(0)[1], daemon=True).start()
            self.archiver.watch()
            while number < elapsed * EVENTS_PER_SECOND:
                self._send(number, START + timedelta(seconds=elapsed * SPEED))
                number += 1
            time.sleep(TICK)
        self._log.flush(120)

    def finish(self, seconds: float) -> None:
        """Close every hour by heartbeats, hour by hour, until all that was late is in its hour too."""
        end = START + timedelta(seconds=seconds * SPEED)
        last = floor_hour(end)
        ahead = itertools.count(2)

        def caught_up() -> bool:
            self.archiver.watch()
            return self.lag() == 0

        def closed() -> bool:
            self._log.heartbeat(end + next(ahead) * HOUR)
            self._log.flush()
            eventually(caught_up)
            return self.lake.find(lake.RAW_EVENTS.manifest(last)) is not None and self._settled()

        eventually(caught_up, seconds=300)
        eventually(closed, seconds=120)

    def account(self) -> dict[str, int]:
        """Read everything back as readers do, through manifests, each file against what its manifest says of it."""
        landed: Counter[str] = Counter()
        manifests = [RawManifest.model_validate_json(self.lake.get(key)) for key in self._manifest_keys()]
        for manifest in manifests:
            assert sum(file.rows for file in manifest.files) == manifest.rows
            for file in manifest.files:
                body = self.lake.get(lake.RAW_EVENTS.hour(manifest.hour) + file.name)
                assert hashlib.sha256(body).hexdigest() == file.sha256, f"{file.name} is not what its manifest says"
                rows = pq.read_table(io.BytesIO(body), columns=["event_id", "event_time"])
                assert rows.num_rows == file.rows
                assert {floor_hour(moment) for moment in rows["event_time"].to_pylist()} == {manifest.hour}
                landed.update(rows["event_id"].to_pylist())
        hours = [manifest.hour for manifest in manifests]
        assert hours == list(timestamps.hours(hours[0], hours[-1] + HOUR)), "the closed hours have a gap"
        in_topic = self._reader.finish(self._archived())
        return {
            "sent": sum(self.sent.values()),
            "distinct": len(self.sent),
            "landed": sum(landed.values()),
            "lost": len(self.sent.keys() - landed.keys()),
            "made_up": len(landed.keys() - self.sent.keys()),
            "doubled": sum(landed.values()) - sum(count for value, count in in_topic.items() if self._is_event(value)),
            "produced_twice": sum(in_topic.values()) - in_topic[b""] - sum(self.sent.values()) - len(self.poison),
            "poison": len(self.poison),
            "poison_lost": len(self.poison - self._dead_in_lake()),
            "poison_not_in_topic": len(self.poison - self._dead_in_topic()),
            "revisions": sum(manifest.revision for manifest in manifests),
            "late_rows": sum(manifest.late_rows for manifest in manifests),
            "hours": len(manifests),
            "files": sum(len(manifest.files) for manifest in manifests),
            "orphans": self._orphans(manifests),
            "archivers_died": len(self.archiver.exit_codes),
            "batches_deleted": self.broker_log.deleted if self.broker_log else 0,
        }

    def end(self) -> None:
        """Leave nothing behind, whatever went wrong before."""
        self._retention_stop.set()
        if self._retention is not None:
            self._retention.join(30)
        self._reader.close()
        self.archiver.end()

    def lag(self) -> float:
        """Messages not in the lake, as Prometheus sees it; infinite while nobody answers."""
        try:
            url = f"http://127.0.0.1:{self.events.metrics_port}/metrics"
            with urllib.request.urlopen(url, timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return float("inf")
        found = [float(line.split()[-1]) for line in lines if line.startswith(metrics.ARCHIVER_LAG + "{")]
        return sum(found) if len(found) == PARTITIONS and found == found else float("inf")

    def _settled(self) -> bool:
        """No checkpoint still holds a file back from its manifest."""
        known = checkpoints.read(self.lake, self.events.topic, range(PARTITIONS))
        return all(checkpoint is not None and not checkpoint.files for checkpoint in known)

    def _archived(self) -> dict[int, int]:
        known = checkpoints.read(self.lake, self.events.topic, range(PARTITIONS))
        return {each.partition: each.next_offset or 0 for each in known if each is not None}

    def _send(self, number: int, moment: datetime) -> None:
        chance = self._random.random()
        if chance < POISON:
            value = self._spoiled(number, moment)
            self.poison.add(value)
            self._log._producer.send(key=b"s%d" % number, value=value)
            return
        if chance < POISON + DUPLICATES and self._valid:
            row = self._random.choice(self._valid[-5000:])
        else:
            late = self._random.random() < LATE
            row = _row(number, moment - self._random.random() * LATEST if late else moment)
            self._valid.append(row)
        self.sent[row["event_id"]] += 1
        self._log.send([row])

    def _spoiled(self, number: int, moment: datetime) -> bytes:
        row = _row(number, moment)
        good = encode(row)
        kinds: list[Callable[[], bytes]] = [
            lambda: good[: len(good) // 2],
            lambda: b"\xff\xfe" + good,
            lambda: good.replace(b'"user_id":"', b'"user_id":"\xc3\x28'),
            lambda: b"[" + good + b"]",
            lambda: good + good,
            lambda: good.replace(b'"position":1', b'"position":0'),
            lambda: good.replace(b'"position":1', b'"position":"1"'),
            lambda: good.replace(b'"ad_id"', b'"advert_id"'),
            lambda: good.replace(b'"click"', b'"hover"'),
            lambda: good.replace(b"}", b',"colour":"red"}'),
            lambda: encode({**row, "event_time": datetime(2090, 1, 1, tzinfo=UTC)}),
            lambda: encode({**row, "event_time": START - timedelta(days=10)}),
        ]
        return self._random.choice(kinds)()

    def _manifest_keys(self) -> list[str]:
        return [key for key in self.lake.keys("raw/events/") if key.endswith("/" + lake.MANIFEST)]

    def _orphans(self, manifests: list[RawManifest]) -> int:
        named = {lake.RAW_EVENTS.hour(m.hour) + file.name for m in manifests for file in m.files}
        return sum(1 for key in self.lake.keys("raw/events/") if key.endswith(".parquet") and key not in named)

    def _dead_in_lake(self) -> set[bytes | None]:
        return {r.value for r in dead_letters.read(self.lake, self.began, datetime.now(UTC) + timedelta(seconds=1))}

    def _is_event(self, value: bytes) -> bool:
        return value != b"" and value not in self.poison

    def _dead_in_topic(self) -> set[bytes]:
        found = TopicReader(self.events, self.events.dead_letter_topic, 1).finish({0: len(self.poison)})
        return set(found)


def _row(number: int, moment: datetime) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event_type": "click",
        "event_time": moment,
        "user_id": f"u{number % 997}",
        "search_id": f"s{number // 10}",
        "ad_id": f"a{number % 89}",
        "position": 1,
        "variant": "control",
        "context": {"slot": float(number % 7)},
    }
