"""10,000 random changes while the capture process is killed twice: the folded history is the database's own.

Transactions of two connections overlap, changes share a transaction and some a moment, keys come back after their
deletion. The test keeps the ledger: every version of every ad with the time that its change was stamped with.
"""

from __future__ import annotations

import io
import random
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from adrank.contracts import lake, timestamps
from adrank.contracts.timestamps import EPOCH, HOUR, floor_hour
from spark.catalogue import views
from spark.lake.files import LakeFiles
from tests.support.change_capture import EVENT_CLOCK, CaptureWorld
from tests.support.child_process import eventually

pytestmark = [pytest.mark.verify, pytest.mark.timeout(900)]

SEED = 31
CHANGES = 10_000
SELLERS = 50
BULK = 60_000
PAIRS = 1_000
START = datetime(2026, 3, 1, 5, tzinfo=UTC)
COLUMNS = ("ad_id", "seller_id", "category", "price", "created_at", "image_quality_score", "updated_at")
_RAW = "org.apache.hadoop.fs.RawLocalFileSystem"


@dataclass
class Ledger:
    """What was done: by ad, (when, price from then on; None: gone). ``envelopes``: changes that the log must hold."""

    versions: dict[str, list[tuple[datetime, float | None]]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    transactions: int = 0
    envelopes: int = 0

    def price(self, ad_id: str, moment: datetime) -> float | None:
        versions = self.versions[ad_id]
        at = bisect_right([when for when, _ in versions], moment)
        return versions[at - 1][1] if at else None


class Writer:
    """Random changes in overlapping transactions. Time never goes back; for one change in five it stands still."""

    def __init__(self, world: CaptureWorld, ledger: Ledger) -> None:
        self.now = START
        self._random = random.Random(SEED)
        self._ledger = ledger
        self._connections = [world.postgres.connect() for _ in range(3)]
        self._alive: list[str] = []
        self._gone: list[str] = []
        self._owner: dict[str, int] = {}
        self._on_heartbeat = START
        rest = ["u"] * (CHANGES * 3 // 10) + ["d"] * (CHANGES // 10)
        first = ["c"] * 200
        rest += ["c"] * (CHANGES - len(rest) - len(first))
        self._random.shuffle(rest)
        self._operations = rest + first

    def changes(self) -> Iterator[int]:
        """Do them; yields how many are committed, between transactions."""
        while self._operations:
            turns = [at for at in (0, 1) for _ in range(self._random.randint(1, 10))]
            self._random.shuffle(turns)
            for at in turns:
                if self._operations:
                    self._change(at, self._operations.pop())
            for at in self._random.sample((0, 1), 2):
                self._connections[at].commit()
                self._ledger.transactions += 1
            self._owner.clear()
            self._beat()
            yield CHANGES - len(self._operations)
        self.now = floor_hour(self.now) + HOUR
        self._beat()
        for connection in self._connections:
            connection.close()

    def _change(self, at: int, op: str) -> None:
        if self._random.random() >= 0.2:
            still = timedelta(microseconds=self._random.randint(1, 500))
            self.now += still if self._random.random() < 0.1 else timedelta(milliseconds=self._random.randint(1, 8000))
        ledger = self._ledger
        ledger.done[op] += 1
        with self._connections[at].cursor() as cursor:
            if op == "c":
                ad_id = self._new_key(at)
                values = self._values()
                cursor.execute("INSERT INTO ads VALUES (%s, %s, %s, %s, %s, %s, %s)", (ad_id, *values))
                self._alive.append(ad_id)
                self._note(ad_id, values[2])
                return
            ad_id = self._key(self._alive, at)
            assert ad_id is not None, "everything is held by the other transaction"
            if op == "u":
                values = self._values()
                names = ", ".join(f"{name} = %s" for name in COLUMNS[1:])
                cursor.execute(f"UPDATE ads SET {names} WHERE ad_id = %s", (*values, ad_id))
                self._note(ad_id, values[2])
            else:
                cursor.execute("UPDATE ads SET updated_at = %s WHERE ad_id = %s", (self.now, ad_id))
                cursor.execute("DELETE FROM ads WHERE ad_id = %s", (ad_id,))
                self._alive.remove(ad_id)
                self._gone.append(ad_id)
                self._note(ad_id, None)
                ledger.envelopes += 1
            assert cursor.rowcount == 1

    def _note(self, ad_id: str, price: float | None) -> None:
        self._ledger.versions.setdefault(ad_id, []).append((self.now, price))
        self._ledger.envelopes += 1

    def _key(self, keys: list[str], at: int) -> str | None:
        """A key that no other open transaction holds; half of the time one that this transaction has touched."""
        free = [key for key in keys if self._owner.get(key, at) == at]
        mine = [key for key in free if key in self._owner]
        if not free:
            return None
        key = self._random.choice(mine if mine and self._random.random() < 0.5 else free)
        self._owner[key] = at
        return key

    def _new_key(self, at: int) -> str:
        again = self._key(self._gone, at) if self._random.random() < 0.1 else None
        if again is not None:
            self._gone.remove(again)
            self._ledger.done["inserted again"] += 1
            return again
        key = f"ad-{self._ledger.done['c']:05d}"
        self._owner[key] = at
        return key

    def _values(self) -> tuple[str, str, float, datetime, float | None, datetime]:
        pick = self._random
        score = None if pick.random() < 0.1 else pick.random()
        created = START - timedelta(seconds=pick.randint(0, 10**7), microseconds=pick.randint(0, 999_999))
        price = round(pick.uniform(1, 500), 2)
        return f"seller-{pick.randrange(SELLERS)}", f"category-{pick.randrange(9)}", price, created, score, self.now

    def _beat(self) -> None:
        hour = floor_hour(self.now)
        if hour > self._on_heartbeat:
            with self._connections[2].cursor() as cursor:
                cursor.execute("UPDATE adrank_heartbeat SET beat_at = %s", (hour,))
            self._connections[2].commit()
            self._on_heartbeat = hour


def killed_twice(world: CaptureWorld, writer: Writer) -> list[int]:
    """Do all changes; returns how many were committed when the process was killed."""
    moments = random.Random(SEED + 1)
    kills = [moments.randrange(2_000, 4_500), moments.randrange(6_000, 9_000)]
    killed: list[int] = []
    world.start()
    world.wait_for_snapshot()
    before = world.checkpoint()["offset"]
    for committed in writer.changes():
        if kills and committed >= kills[0]:
            # It is in the middle of its work when it dies: it has landed something and has more to land.
            eventually(lambda: world.checkpoint()["offset"] != before)  # noqa: B023 - called at once
            world.kill()
            killed.append(committed)
            kills.pop(0)
            before = world.checkpoint()["offset"]
            world.start()
    return killed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptureWorld]:
    with CaptureWorld(tmp_path_factory.mktemp("campaign"), EVENT_CLOCK) as world:
        world.sql(
            f"INSERT INTO adrank_heartbeat VALUES (1, '{START.isoformat()}')",
            f"INSERT INTO sellers SELECT 'seller-' || n, NULL, '{START.isoformat()}' FROM generate_series(1, 50) n",
        )
        yield world


@pytest.fixture(scope="module")
def spark(world: CaptureWorld) -> Iterator[SparkSession]:
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.file.impl": _RAW,
        "spark.hadoop.fs.file.impl": _RAW,
        f"spark.hadoop.fs.viewfs.mounttable.{world.lake.bucket}.link./raw": (
            Path(world.bucket_directory) / "raw"
        ).as_uri(),
    }
    builder = SparkSession.builder.master("local[2]")
    for key, value in options.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def test_the_history_is_the_databases_own(
    world: CaptureWorld, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger()
    writer = Writer(world, ledger)
    began = time.monotonic()
    killed = killed_twice(world, writer)
    written = time.monotonic() - began
    last = writer.now - HOUR
    world.wait_for("ads", last, seconds=240)
    world.wait_for("sellers", last)
    landed_after = time.monotonic() - began
    assert world.end() == 0

    landed: Counter[tuple[int, str]] = Counter()
    for hour in timestamps.hours(START, writer.now):
        landed.update((e["source"]["lsn"], e["op"]) for e in world.envelopes("ads", hour))
    doubled = sum(landed.values()) - len(landed)
    lost = ledger.envelopes - len(landed)

    spark = request.getfixturevalue("spark")
    history = views.history(spark, LakeFiles(spark, world.lake.bucket), "ads", EPOCH, writer.now).cache()
    current = current_rows(history)
    table = {row[0]: row for row in world.rows(f"SELECT {', '.join(COLUMNS)} FROM ads")}
    wrong_rows = [key for key in current.keys() | table.keys() if current.get(key) != as_history(table.get(key))]
    pairs, wrong_prices = wrong_answers(history, ledger, writer.now)
    sellers = views.history(spark, LakeFiles(spark, world.lake.bucket), "sellers", EPOCH, writer.now).count()

    with capsys.disabled():
        print(
            f"\nchanges {sum(ledger.done[op] for op in 'cud')} (insert {ledger.done['c']}, of them again "
            f"{ledger.done['inserted again']}; update {ledger.done['u']}; delete {ledger.done['d']}) in "
            f"{ledger.transactions} transactions, written in {written:.1f} s, landed after {landed_after:.1f} s"
            f"\nkilled after {' and '.join(map(str, killed))} changes"
            f"\nenvelopes: in the log {ledger.envelopes}, landed {sum(landed.values())}, lost {lost}, doubled {doubled}"
            f"\ncurrent rows: database {len(table)}, folded {len(current)}, different {len(wrong_rows)}"
            f"\nprice at T: {pairs} pairs, wrong {len(wrong_prices)}; versions {history.count()}"
        )
    assert len(killed) == 2
    assert (lost, doubled) == (0, 0)
    assert not wrong_rows, wrong_rows[:5]
    assert not wrong_prices, wrong_prices[:5]
    assert sellers == SELLERS
    assert (ledger.done["u"], ledger.done["d"], pairs) == (3_000, 1_000, PAIRS)


def test_a_bulk_load_whose_rows_share_positions_of_the_log_survives_a_kill(
    world: CaptureWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    hour = datetime(2026, 3, 2, 5, tzinfo=UTC)
    rows = "".join(f"bulk-{n:05d}\ts\tc\t1.5\t{hour.isoformat()}\n" for n in range(BULK))
    world.start()
    world.wait_for_snapshot()
    connection = world.postgres.connect()
    with connection, connection.cursor() as cursor:
        columns = "ad_id, seller_id, category, price, updated_at"
        cursor.copy_expert(f"COPY ads ({columns}) FROM STDIN", io.StringIO(rows))
    eventually(lambda: len(list(world.store.keys(lake.RAW_CDC("ads").hour(hour)))) > 4)
    world.kill()
    ahead = world.checkpoint()["ahead"]
    assert ahead is not None, "it died between two positions; another seed is needed"
    world.start()
    world.sql(f"UPDATE adrank_heartbeat SET beat_at = '{(hour + HOUR).isoformat()}'")
    world.wait_for("ads", hour, seconds=120)
    assert world.end() == 0
    landed = Counter(e["after"]["ad_id"] for e in world.envelopes("ads", hour))
    positions = {e["source"]["lsn"] for e in world.envelopes("ads", hour)}
    with capsys.disabled():
        print(
            f"\nbulk load: {BULK} rows at {len(positions)} positions, killed with {ahead}; landed {landed.total()}, "
            f"lost {BULK - len(landed)}, doubled {landed.total() - len(landed)}"
        )
    assert len(positions) < BULK / 10, "the rows no longer share positions"
    assert landed == Counter(f"bulk-{n:05d}" for n in range(BULK))


def current_rows(history: DataFrame) -> dict[str, tuple[Any, ...]]:
    """What history says is there now, times as microseconds."""
    times = [F.unix_micros(name).alias(name) if name.endswith("_at") else F.col(name) for name in COLUMNS]
    found = history.where("valid_to > '9999-01-01'").select(*times).collect()
    rows = {row["ad_id"]: tuple(row) for row in found}
    assert len(rows) == len(found), "an ad is there twice"
    return rows


def as_history(row: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if row is None:
        return None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    micros = [(value - epoch) // timedelta(microseconds=1) if isinstance(value, datetime) else value for value in row]
    micros[3] = float(row[3])
    return tuple(micros)


def wrong_answers(history: DataFrame, ledger: Ledger, end: datetime) -> tuple[int, list[Any]]:
    """Ask history for the price at random moments, a third of them moments of a change; (pairs, wrong ones)."""
    pick = random.Random(SEED + 2)
    pairs = []
    for number in range(PAIRS):
        ad_id = pick.choice(sorted(ledger.versions))
        moment = START + (end - START) * pick.random()
        if number % 3 == 0:
            moment = pick.choice(ledger.versions[ad_id])[0]
        pairs.append((number, ad_id, (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)))
    moments = history.sparkSession.createDataFrame(pairs, "number int, ad_id string, t bigint")
    answers = (
        moments.join(
            history.select("ad_id", "price", "valid_from", "valid_to"),
            (moments.ad_id == history.ad_id)
            & (F.unix_micros("valid_from") <= F.col("t"))
            & (F.col("t") < F.unix_micros("valid_to")),
            "left",
        )
        .select("number", "price")
        .collect()
    )
    assert len(answers) == PAIRS, "a moment has two prices"
    prices = {row["number"]: row["price"] for row in answers}
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    wrong = []
    for number, ad_id, t in pairs:
        right = ledger.price(ad_id, epoch + timedelta(microseconds=t))
        if prices[number] != right:
            wrong.append((ad_id, t, prices[number], right))
    return len(prices), wrong
