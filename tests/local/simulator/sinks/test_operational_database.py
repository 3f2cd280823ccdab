"""The catalogue's changes, told to PostgreSQL: rows come, change and go when they do in the world."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adrank.contracts.timestamps import HOUR
from simulator.marketplace.world import World
from simulator.sinks import operational_database
from simulator.sinks.operational_database import OperationalDatabase, RowMissingError, UnknownOperationError
from tests.support.postgres_server import HOST, USER, PostgresServer

pytestmark = pytest.mark.stack

MOMENT = datetime(2026, 3, 9, 5, 30, tzinfo=UTC)
MS = int(MOMENT.timestamp() * 1000)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        connection = server.connect()
        with connection, connection.cursor() as cursor:
            operational_database.ensure_schema(cursor, "adrank")
            operational_database.ensure_schema(cursor, "adrank")
        connection.close()
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Iterator[OperationalDatabase]:
    """Empty tables."""
    query(server, "TRUNCATE ads, sellers, adrank_heartbeat")
    password = f"password={server.password}"
    database = OperationalDatabase(f"host={HOST} port={server.port} user={USER} {password} dbname=marketplace")
    yield database
    database.close()


def query(server: PostgresServer, statement: str) -> list[tuple[Any, ...]]:
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
    connection.close()
    return found


def row(price: float, ad_id: str = "a") -> dict[str, Any]:
    other = {"seller_id": "s", "category": "c", "image_quality_score": None, "title": f"Ad {ad_id}"}
    return {"ad_id": ad_id, "price": price, "created_at": 1_767_225_600_000_001, **other}


def envelope(op: str, before: dict[str, Any] | None, after: dict[str, Any] | None, ms: int = MS) -> dict[str, Any]:
    return {"op": op, "ts_ms": ms, "before": before, "after": after, "source": {"table": "ads", "lsn": 1}}


def test_the_history_of_a_world_ends_in_what_is_on_its_shelf(
    server: PostgresServer, database: OperationalDatabase, small_world: World
) -> None:
    settings = small_world.settings
    for table, _, envelopes in small_world.catalogue.envelopes(settings.start, settings.live_start):
        assert database.apply(table, envelopes) == len(envelopes)
    stock = small_world.catalogue.at_hour(settings.history_hours)
    there = {ad_id: float(price) for ad_id, price in query(server, "SELECT ad_id, price FROM ads")}
    live = zip(small_world.ad_ids[stock.live].tolist(), stock.price[stock.live].tolist(), strict=True)
    assert there == dict(live)
    assert query(server, "SELECT count(*) FROM sellers") == [(settings.sellers,)]


def test_a_change_is_stamped_with_its_own_time(server: PostgresServer, database: OperationalDatabase) -> None:
    database.apply("ads", [envelope("c", None, row(1))])
    assert query(server, "SELECT updated_at, title FROM ads") == [(MOMENT, "Ad a")]
    database.apply("ads", [envelope("u", row(1), row(2), MS + 250)])
    assert query(server, "SELECT price, created_at, updated_at FROM ads") == [
        (2, datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC), MOMENT + timedelta(milliseconds=250))
    ]


def test_tables_from_before_titles_get_the_column(server: PostgresServer, database: OperationalDatabase) -> None:
    query(server, "ALTER TABLE ads DROP COLUMN title")
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        operational_database.ensure_schema(cursor, "adrank")
    connection.close()
    database.apply("ads", [envelope("c", None, row(1))])
    assert query(server, "SELECT title FROM ads") == [("Ad a",)]


def test_a_deleted_row_is_stamped_before_it_goes(server: PostgresServer, database: OperationalDatabase) -> None:
    query(server, "SELECT pg_create_logical_replication_slot('witness', 'test_decoding')")
    database.apply("ads", [envelope("c", None, row(1)), envelope("d", row(1), None, MS + 1000)])
    lines = [line for (line,) in query(server, "SELECT data FROM pg_logical_slot_get_changes('witness', NULL, NULL)")]
    query(server, "SELECT pg_drop_replication_slot('witness')")
    assert query(server, "SELECT count(*) FROM ads") == [(0,)]
    (deleted,) = [line for line in lines if "DELETE" in line]
    assert "updated_at[timestamp with time zone]:'2026-03-09 05:30:01+00'" in deleted


def test_a_snapshot_takes_the_place_of_what_is_there(server: PostgresServer, database: OperationalDatabase) -> None:
    for price in (1, 2):
        rows = [envelope("r", None, row(price, f"ad-{n}")) for n in range(3)]
        assert database.apply("ads", rows) == 3
    assert query(server, "SELECT DISTINCT price FROM ads") == [(2,)]


@pytest.mark.parametrize(("op", "after"), [("u", row(2)), ("d", None)])
def test_a_change_of_a_row_that_is_not_there_is_refused_and_undoes_what_came_with_it(
    server: PostgresServer, database: OperationalDatabase, op: str, after: dict[str, Any] | None
) -> None:
    with pytest.raises(RowMissingError, match="nobody"):
        database.apply("ads", [envelope("c", None, row(1)), envelope(op, row(1, "nobody"), after)])
    assert query(server, "SELECT count(*) FROM ads") == [(0,)]


def test_an_operation_that_changes_no_row_is_refused(database: OperationalDatabase) -> None:
    with pytest.raises(UnknownOperationError, match="ads: operation 't'"):
        database.apply("ads", [envelope("t", None, None)])


def test_the_heart_beats_in_one_row(server: PostgresServer, database: OperationalDatabase) -> None:
    database.beat(MOMENT)
    database.beat(MOMENT + HOUR)
    assert query(server, "SELECT id, beat_at FROM adrank_heartbeat") == [(1, MOMENT + HOUR)]
