"""From PostgreSQL to the lake: a snapshot, then every change, across a restart, and nothing of it twice.

One database and two runs of the process serve all tests of this module.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adrank.contracts import timestamps
from adrank.contracts.settings import Cdc
from ingestion.capture import database
from ingestion.capture.database import Credentials, DatabaseError
from tests.support.change_capture import EVENT_CLOCK, USER, CaptureWorld
from tests.support.postgres_server import HOST

pytestmark = pytest.mark.stack

HOUR = datetime(2026, 3, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class CaptureResult:
    """What the two runs left."""

    world: CaptureWorld
    exit_code: int
    first_hour: list[dict[str, Any]]
    second_hour: list[dict[str, Any]]
    third_hour: list[dict[str, Any]]
    metrics: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptureWorld]:
    with CaptureWorld(tmp_path_factory.mktemp("capture"), EVENT_CLOCK) as world:
        yield world


@pytest.fixture(scope="module")
def captured(world: CaptureWorld) -> CaptureResult:
    world.sql(
        insert("before", 12.5, HOUR + timedelta(minutes=1)),
        f"INSERT INTO sellers VALUES ('s', NULL, '{HOUR.isoformat()}')",
        f"INSERT INTO adrank_heartbeat VALUES (1, '{HOUR.isoformat()}')",
    )
    world.start()
    later = HOUR + timedelta(minutes=30)
    gone = HOUR + timedelta(minutes=40)
    world.wait_for_snapshot()
    world.sql(
        f"BEGIN; {insert('new', 1, later)}; {update('new', 2, later)}; {update('new', 3, later)}; COMMIT",
        f"BEGIN; {update('before', 12.5, gone)}; DELETE FROM ads WHERE ad_id = 'before'; COMMIT",
        beat(HOUR + timestamps.HOUR),
    )
    world.wait_for("ads", HOUR)
    exit_code = world.end(signal.SIGTERM)
    world.sql(
        "ALTER TABLE ads ADD COLUMN colour text",
        update("new", 4, HOUR + timedelta(minutes=70)) + "; UPDATE ads SET colour = 'red'",
        "ALTER TABLE ads DROP COLUMN image_quality_score",
        update("new", 5, HOUR + timedelta(minutes=80)),
        beat(HOUR + 2 * timestamps.HOUR),
    )
    world.start()
    world.wait_for("ads", HOUR + timestamps.HOUR)
    world.sql("TRUNCATE ads", f"UPDATE sellers SET updated_at = '{(HOUR + 2 * timestamps.HOUR).isoformat()}'")
    world.sql(beat(HOUR + 3 * timestamps.HOUR))
    world.wait_for("sellers", HOUR + 2 * timestamps.HOUR)
    metrics = world.metrics()
    world.end(signal.SIGTERM)
    first, second = (world.envelopes("ads", hour) for hour in (HOUR, HOUR + timestamps.HOUR))
    return CaptureResult(
        world, exit_code, first, second, world.envelopes("sellers", HOUR + 2 * timestamps.HOUR), metrics
    )


def insert(ad_id: str, price: float, moment: datetime) -> str:
    created = "2026-01-01T00:00:00.000001Z"
    return f"INSERT INTO ads VALUES ('{ad_id}', 's', 'c', {price}, '{created}', 0.5, '{moment.isoformat()}')"


def update(ad_id: str, price: float, moment: datetime) -> str:
    return f"UPDATE ads SET price = {price}, updated_at = '{moment.isoformat()}' WHERE ad_id = '{ad_id}'"


def beat(moment: datetime) -> str:
    return f"UPDATE adrank_heartbeat SET beat_at = '{moment.isoformat()}'"


def test_what_was_there_is_a_snapshot_and_every_change_follows_once(captured: CaptureResult) -> None:
    assert [(e["op"], (e["after"] or e["before"])["price"]) for e in captured.first_hour] == [
        ("r", 12.5),
        ("c", 1.0),
        ("u", 2.0),
        ("u", 3.0),
        ("u", 12.5),
        ("d", 12.5),
    ]


def test_rows_have_numbers_for_prices_and_microseconds_for_times(captured: CaptureResult) -> None:
    snapshot = captured.first_hour[0]
    assert snapshot["after"] == {
        "ad_id": "before",
        "seller_id": "s",
        "category": "c",
        "price": 12.5,
        "created_at": 1_767_225_600_000_001,
        "image_quality_score": 0.5,
        "updated_at": 1_772_341_260_000_000,
        "title": None,
    }
    assert snapshot["change_us"] == snapshot["after"]["updated_at"]


def test_a_deletion_says_what_was_deleted_and_when(captured: CaptureResult) -> None:
    deletion = captured.first_hour[-1]
    assert deletion["after"] is None
    assert deletion["before"]["ad_id"] == "before"
    assert deletion["change_us"] == int((HOUR + timedelta(minutes=40)).timestamp() * 1e6)


def test_changes_made_while_nobody_captured_are_there_after_a_restart(captured: CaptureResult) -> None:
    assert captured.exit_code == 0
    assert [e["after"]["price"] for e in captured.second_hour] == [4.0, 4.0, 5.0]


def test_a_column_added_upstream_is_carried_and_a_dropped_one_is_gone(captured: CaptureResult) -> None:
    assert [e["after"].get("colour") for e in captured.second_hour] == [None, "red", "red"]
    assert ["image_quality_score" in e["after"] for e in captured.second_hour] == [True, True, False]


def test_a_truncation_is_a_change(captured: CaptureResult) -> None:
    assert 'adrank_capture_changes_landed_total{op="t",table="ads"} 1.0' in captured.metrics


def test_hours_are_closed_for_both_tables_as_the_heartbeat_passes(captured: CaptureResult) -> None:
    assert [e["op"] for e in captured.third_hour] == ["u"]
    quiet = captured.world.manifest("sellers", HOUR + timestamps.HOUR)
    assert quiet is not None
    assert (quiet.files, quiet.changes) == ((), 0)
    assert captured.world.manifest("ads", HOUR + 3 * timestamps.HOUR) is None


def test_metrics_count_changes_and_hours_and_know_the_lag(captured: CaptureResult) -> None:
    values = dict(line.rsplit(" ", 1) for line in captured.metrics.splitlines() if line.startswith("adrank_capture"))
    assert float(values['adrank_capture_changes_landed_total{op="u",table="ads"}']) == 3
    assert float(values["adrank_capture_hours_closed_total"]) == 2
    assert float(values["adrank_capture_watermark_seconds"]) == (HOUR + 3 * timestamps.HOUR).timestamp()
    assert 0 <= float(values["adrank_capture_lag_seconds"]) < 60


def test_the_password_is_nowhere_to_be_read(captured: CaptureResult) -> None:
    log = captured.world.log.read_text()
    assert captured.world.postgres.password not in log
    assert "capturing" in log


def test_the_checkpoint_says_where_to_go_on(captured: CaptureResult) -> None:
    checkpoint = captured.world.checkpoint()
    assert re.fullmatch(r"adrank\.\d+", checkpoint["log"])
    assert datetime.fromisoformat(checkpoint["closed"]) == HOUR + 3 * timestamps.HOUR


def test_without_its_slot_a_checkpoint_is_refused_because_changes_are_lost(captured: CaptureResult) -> None:
    captured.world.sql("SELECT pg_drop_replication_slot('adrank')")
    captured.world.start()
    assert captured.world.exit_code() == 1
    assert "replication slot adrank is gone" in captured.world.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("broken", "mended", "message"),
    [
        (
            "ALTER TABLE ads REPLICA IDENTITY DEFAULT",
            "ALTER TABLE ads REPLICA IDENTITY FULL",
            r"table ads does not log whole rows; ALTER TABLE public\.ads REPLICA IDENTITY FULL",
        ),
        (
            "ALTER PUBLICATION adrank DROP TABLE sellers",
            "ALTER PUBLICATION adrank ADD TABLE sellers",
            "publication adrank leaves out table sellers",
        ),
        (
            "ALTER PUBLICATION adrank SET (publish = 'insert, update')",
            "ALTER PUBLICATION adrank SET (publish = 'insert, update, delete, truncate')",
            "must publish insert, update, delete and truncate",
        ),
        (
            "ALTER TABLE adrank_heartbeat RENAME TO beats",
            "ALTER TABLE beats RENAME TO adrank_heartbeat",
            r"table public\.adrank_heartbeat is not there",
        ),
        (
            "ALTER TABLE sellers RENAME COLUMN updated_at TO changed_at",
            "ALTER TABLE sellers RENAME COLUMN changed_at TO updated_at",
            r"sellers\.updated_at is not there",
        ),
        (
            f"REVOKE UPDATE ON adrank_heartbeat FROM {USER}",
            f"GRANT UPDATE ON adrank_heartbeat TO {USER}",
            r"the user may not beat; GRANT INSERT, UPDATE ON public\.adrank_heartbeat",
        ),
    ],
)
def test_a_database_that_cannot_be_captured_whole_is_refused_by_name(
    world: CaptureWorld, broken: str, mended: str, message: str
) -> None:
    world.sql(broken)
    try:
        with pytest.raises(DatabaseError, match=message):
            inspect_source(world)
    finally:
        world.sql(mended)
    assert inspect_source(world).has_publication


def test_a_wrong_password_is_refused_without_telling_it(world: CaptureWorld) -> None:
    settings = Cdc(host=HOST, port=world.postgres.port)
    with pytest.raises(
        DatabaseError, match=r"127\.0\.0\.1:\d+/marketplace: .*password authentication failed"
    ) as refused:
        database.inspect_source(settings, Credentials(USER, "not-it"))
    assert "not-it" not in str(refused.value)
    assert "not-it" not in repr(Credentials(USER, "not-it"))


class FakeSecrets:
    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - the API's name
        return {"SecretString": self._text}


@pytest.mark.parametrize("text", ["hush", '{"username": "hush"}', '["hush"]'])
def test_a_secret_that_is_none_is_refused_without_telling_it(text: str) -> None:
    with pytest.raises(DatabaseError, match="secret adrank/cdc is not JSON with username and password") as refused:
        database.credentials(FakeSecrets(text), "adrank/cdc")
    assert "hush" not in str(refused.value)
    assert refused.value.__cause__ is None


def inspect_source(world: CaptureWorld) -> database.SourceDatabase:
    settings = Cdc(host=HOST, port=world.postgres.port, time_column="updated_at")
    return database.inspect_source(settings, Credentials(USER, world.postgres.password))
