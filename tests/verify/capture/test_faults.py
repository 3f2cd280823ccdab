"""Capture on the wall clock, as in production, while the object store refuses and the database crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from adrank.contracts import lake
from adrank.contracts.timestamps import HOUR, floor_hour
from ingestion.landing.changes import CdcTable
from tests.support.change_capture import CaptureWorld
from tests.support.child_process import eventually

pytestmark = [pytest.mark.verify, pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptureWorld]:
    """Clocks as they are set by default: changes count from their commit, and the process itself beats."""
    with CaptureWorld(tmp_path_factory.mktemp("faults"), {"HEARTBEAT_INTERVAL": "PT0.5S"}) as world:
        yield world


def named(world: CaptureWorld, table: CdcTable) -> Counter[str]:
    """Ads of the changes that the checkpoint or a manifest names."""
    files = {(f["hour"], f["file"]["name"]) for f in world.checkpoint()["files"] if f["table"] == table}
    now = datetime.now(UTC)
    for hour in (floor_hour(now) - HOUR, floor_hour(now)):
        manifest = world.manifest(table, hour)
        files |= {(hour.isoformat(), file.name) for file in manifest.files} if manifest else set()
    keys = [lake.RAW_CDC(table).hour(datetime.fromisoformat(hour)) + name for hour, name in files]
    lines = [line for key in keys for line in world.store.get(key).decode().splitlines()]
    return Counter(line.split('"ad_id":"', 1)[1].split('"', 1)[0] for line in lines)


def test_the_process_beats_itself_and_nothing_is_lost_or_doubled_by_faults(
    world: CaptureWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.start()
    world.wait_for_snapshot()
    first = eventually(lambda: world.checkpoint()["watermark"])
    assert abs(datetime.fromisoformat(first) - datetime.now(UTC)) < timedelta(seconds=30)
    eventually(lambda: world.checkpoint()["watermark"] != first)

    sent: list[str] = []

    def insert() -> None:
        sent.extend([f"ad-{len(sent) + n}" for n in range(100)])
        world.sql(*(f"INSERT INTO ads (ad_id) VALUES ('{ad_id}')" for ad_id in sent[-100:]))

    insert()
    world.lake.refuse_writes(30)
    insert()
    eventually(lambda: sum(named(world, "ads").values()) == len(sent), seconds=90)
    insert()
    world.postgres.stop()
    assert world.exit_code() == 1
    world.postgres.start()
    insert()
    world.start()
    eventually(lambda: sum(named(world, "ads").values()) >= len(sent), seconds=90)
    assert world.end() == 0
    landed = named(world, "ads")
    with capsys.disabled():
        print(
            f"\nobject store refused for 30 s, database crashed: sent {len(sent)}, landed {landed.total()}, "
            f"lost {len(set(sent) - set(landed))}, doubled {landed.total() - len(landed)}"
        )
    assert landed == Counter(sent)
