"""The database that is captured: its credentials, and what must hold there before a log of it can be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg2
from psycopg2.extensions import make_dsn
from psycopg2.extras import LogicalReplicationConnection

from adrank.contracts.settings import Cdc
from ingestion.landing.changes import TABLES

SCHEMA: Final = "public"
_GRANT: Final = "the user may not SELECT from {}"
_TIMES: Final = ("timestamp with time zone", "timestamp without time zone")


class DatabaseError(RuntimeError):
    """The database cannot be captured; the message says why and what to do."""


@dataclass(frozen=True)
class Credentials:
    """A user that may log in, replicate and read the tables."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


@dataclass(frozen=True)
class SourceDatabase:
    """The database as it was found. ``log`` names its write-ahead log: positions of one log can be compared."""

    log: str
    has_publication: bool
    has_slot: bool


def credentials(secrets_manager: Any, secret_id: str) -> Credentials:
    """Ask Secrets Manager.

    :raises DatabaseError: there is no such secret, or it does not hold what it should.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = secrets_manager.get_secret_value(SecretId=secret_id)["SecretString"]
    except (BotoCoreError, ClientError, KeyError) as error:
        raise DatabaseError(f"secret {secret_id} cannot be read: {error}") from error
    try:
        secret = json.loads(text)
        return Credentials(str(secret["username"]), str(secret["password"]))
    except (ValueError, KeyError, TypeError):
        # The cause would show the secret.
        raise DatabaseError(f"secret {secret_id} is not JSON with username and password") from None


def inspect_source(settings: Cdc, user: Credentials) -> SourceDatabase:
    """Look whether the database can be captured.

    :raises DatabaseError: it cannot be reached, or a setting, table, column, publication or slot is not as it must be.
    """
    try:
        with _cursor(settings, user) as cursor:
            log = _log(cursor, settings)
            _require_logical_log(cursor)
            _require_tables(cursor, settings)
            return SourceDatabase(log, _has_publication(cursor, settings), _has_slot(cursor, settings))
    except psycopg2.Error as error:
        raise DatabaseError(
            f"{settings.host}:{settings.port}/{settings.database}: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def _cursor(settings: Cdc, user: Credentials) -> Iterator[Any]:
    # A replication connection answers plain queries too, and shows at once whether the user may replicate.
    connection = psycopg2.connect(
        make_dsn(host=settings.host, port=settings.port, dbname=settings.database, connect_timeout=10),
        user=user.username,
        password=user.password,
        connection_factory=LogicalReplicationConnection,
    )
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _log(cursor: Any, settings: Cdc) -> str:
    cursor.execute("IDENTIFY_SYSTEM")
    return f"{settings.slot}.{cursor.fetchone()[0]}"


def _require_logical_log(cursor: Any) -> None:
    cursor.execute("SHOW wal_level")
    (level,) = cursor.fetchone()
    if level != "logical":
        raise DatabaseError(f"wal_level is {level}; set wal_level=logical and restart the server")


def _require_tables(cursor: Any, settings: Cdc) -> None:
    cursor.execute(
        "SELECT relname, relreplident FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relkind IN ('r', 'p')",
        (SCHEMA,),
    )
    identities = dict(cursor.fetchall())
    for table in (*TABLES, settings.heartbeat_table):
        if table not in identities:
            raise DatabaseError(f"table {SCHEMA}.{table} is not there")
    for table in TABLES:
        if identities[table] != "f":
            raise DatabaseError(
                f"table {table} does not log whole rows; ALTER TABLE {SCHEMA}.{table} REPLICA IDENTITY FULL"
            )
        if settings.time_column is not None:
            _require_time(cursor, table, settings.time_column)
    _require_time(cursor, settings.heartbeat_table, "beat_at")
    if settings.heartbeat_interval:
        _require_beating(cursor, settings.heartbeat_table)


def _require_time(cursor: Any, table: str, column: str) -> None:
    cursor.execute(
        "SELECT data_type FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = %s AND column_name = %s",
        (SCHEMA, table, column),
    )
    row = cursor.fetchone()
    if row is None:
        raise DatabaseError(f"{table}.{column} is not there, or {_GRANT.format(table)}")
    if row[0] not in _TIMES:
        raise DatabaseError(f"{table}.{column} is of type {row[0]}; expected a timestamp")


def _require_beating(cursor: Any, table: str) -> None:
    relation = f"{SCHEMA}.{table}"
    cursor.execute(
        "SELECT has_table_privilege(%s, 'INSERT') AND has_table_privilege(%s, 'UPDATE')", (relation, relation)
    )
    if cursor.fetchone() != (True,):
        raise DatabaseError(f"the user may not beat; GRANT INSERT, UPDATE ON {relation}, or let somebody else beat")


def _has_publication(cursor: Any, settings: Cdc) -> bool:
    cursor.execute(
        "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = %s",
        (settings.publication,),
    )
    row = cursor.fetchone()
    if row is None:
        return False
    if not all(row):
        raise DatabaseError(f"publication {settings.publication} must publish insert, update, delete and truncate")
    cursor.execute(
        "SELECT tablename FROM pg_publication_tables WHERE schemaname = %s AND pubname = %s",
        (SCHEMA, settings.publication),
    )
    published = {name for (name,) in cursor.fetchall()}
    if absent := {*TABLES, settings.heartbeat_table} - published:
        raise DatabaseError(f"publication {settings.publication} leaves out table {', '.join(sorted(absent))}")
    return True


def _has_slot(cursor: Any, settings: Cdc) -> bool:
    cursor.execute(
        "SELECT plugin, database, wal_status FROM pg_replication_slots WHERE slot_name = %s", (settings.slot,)
    )
    row = cursor.fetchone()
    if row is None:
        return False
    plugin, database, status = row
    if (plugin, database) != ("pgoutput", settings.database):
        raise DatabaseError(f"replication slot {settings.slot} is one of {plugin} in database {database}")
    if status == "lost":
        raise DatabaseError(
            f"replication slot {settings.slot} is lost: the server has removed its log; drop the slot and delete the "
            "checkpoint to begin with a new snapshot"
        )
    return True
