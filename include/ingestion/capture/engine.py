"""The Debezium engine inside this process.

It reads the log from the offset that it is given and hands over changes in order; nothing that it keeps on disk is
needed again. Its PostgreSQL connector is configured so that every change arrives: truncations too, each deletion once.
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import jpype  # type: ignore[import-untyped]
import jpype.config  # type: ignore[import-untyped]

from adrank.contracts.settings import Cdc
from ingestion.capture.database import SCHEMA, Credentials, SourceDatabase
from ingestion.capture.envelopes import parse
from ingestion.capture.sink import ChangeRecord
from ingestion.landing.changes import TABLES

Offset = dict[str, str | int | bool | None]
HandleBatch = Callable[[list[ChangeRecord]], None]

_LOG: Final = logging.getLogger(__name__)
_ZONED: Final = "io.debezium.time.ZonedTimestamp"
_JVM: Final = (
    "-Xms16m",
    "-Xmx256m",
    "-XX:-UseG1GC",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # Signals are the Python process's.
    "-Xrs",
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}",
)


class EngineError(RuntimeError):
    """The engine ended by itself; the message is its own."""


class DebeziumEngine:
    """One run of the engine, from ``offset`` (None: from a snapshot)."""

    def __init__(self, settings: Cdc, user: Credentials, source: SourceDatabase, offset: Offset | None) -> None:
        self._settings = settings
        self._properties = properties(settings, user, source)
        self._server = source.log
        self._offset = offset
        self._consumer: _Consumer | None = None
        self._engine: Any = None
        self._ended = threading.Event()
        self._closing = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._failure: BaseException | None = None

    def start(self, handle_batch: HandleBatch) -> None:
        """Start the engine's threads; ``handle_batch`` is called in one of them, never twice at a time."""
        from pydbzengine.engine.jvm import ensure_jvm_started

        ensure_jvm_started(list(_JVM))
        # The process ends when it has landed everything; the JVM's own threads need not be waited for.
        jpype.config.destroy_jvm = False
        self._folder = tempfile.TemporaryDirectory(prefix="adrank-capture-")
        offsets = Path(self._folder.name) / "offsets"
        self._properties["offset.storage.file.filename"] = str(offsets)
        if self._offset is not None:
            _write_offsets(offsets, self._settings.slot, self._server, self._offset)
        java_properties = jpype.JClass("java.util.Properties")()
        for key, value in self._properties.items():
            java_properties.setProperty(key, value)
        column = self._settings.time_column
        times: dict[str, str] = {} if column is None else dict.fromkeys(TABLES, column)
        self._consumer = _Consumer(handle_batch, times, self._fail)
        builder = jpype.JClass("io.debezium.engine.DebeziumEngine").create(
            jpype.JClass("io.debezium.engine.format.Json")
        )
        self._engine = builder.using(java_properties).using(_Completion(self)).notifying(self._consumer).build()
        threading.Thread(target=self._engine.run, name="debezium", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether the engine has ended by itself, within ``seconds``."""
        return self._ended.wait(seconds)

    def raise_failure(self) -> None:
        """Raise what ended the engine."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the engine; what it has handed over and nobody acknowledged is handed over again next time."""
        self._closing = True
        if self._engine is not None and not self._ended.is_set():
            try:
                self._engine.close()
            except jpype.JException as error:
                # While it starts it cannot be closed; it ends with the process, having acknowledged nothing.
                _LOG.info("the engine was left as it was: %s", error)
        if self._folder is not None:
            self._folder.cleanup()

    def offset(self, record: Any) -> Offset:
        """Where the engine goes on when it starts behind ``record``."""
        return {
            str(entry.getKey()): _plain(entry.getValue()) for entry in record.sourceRecord().sourceOffset().entrySet()
        }

    def acknowledge(self, record: Any) -> None:
        """Everything up to ``record`` is durable; the database may forget it."""
        assert self._consumer is not None
        self._consumer.acknowledge(record)

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure

    def _complete(self, message: str, succeeded: bool) -> None:
        if not succeeded or not self._closing:
            self._fail(EngineError(message))
        self._ended.set()


def properties(settings: Cdc, user: Credentials, source: SourceDatabase) -> dict[str, str]:
    """Debezium's configuration, but for the file in which it keeps offsets while it runs."""
    tables = (*TABLES, settings.heartbeat_table)
    configuration = {
        "name": settings.slot,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "database.hostname": settings.host,
        "database.port": str(settings.port),
        "database.dbname": settings.database,
        "database.user": user.username,
        "database.password": user.password,
        "topic.prefix": source.log,
        "slot.name": settings.slot,
        "slot.max.retries": "60",
        "slot.retry.delay.ms": "1000",
        "publication.name": settings.publication,
        "publication.autocreate.mode": "disabled" if source.has_publication else "filtered",
        "table.include.list": ",".join(f"{SCHEMA}\\.{table}" for table in tables),
        "snapshot.mode": settings.snapshot,
        # What the lake calls an offset is the only one; one that the log no longer reaches is an error.
        "offset.mismatch.strategy": "no_validation",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.flush.interval.ms": "0",
        "decimal.handling.mode": "double",
        "time.precision.mode": "microseconds",
        "skipped.operations": "none",
        "tombstones.on.delete": "false",
        "poll.interval.ms": "100",
        "max.batch.size": "2048",
        "max.queue.size": "8192",
        # A connection that breaks ends the process: whoever keeps it running starts it again at the checkpoint.
        "errors.max.retries": "0",
        # A new slot has to wait for the end of every transaction that runs.
        "internal.task.management.timeout.ms": "900000",
    }
    if settings.heartbeat_interval:
        configuration |= {
            "heartbeat.interval.ms": str(int(settings.heartbeat_interval.total_seconds() * 1000)),
            "heartbeat.action.query": (
                f"INSERT INTO {SCHEMA}.{settings.heartbeat_table} (id, beat_at) VALUES (1, now()) "  # noqa: S608 - settings
                "ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
            ),
        }
    converters = ("key.converter", "value.converter", "converter")
    return configuration | {f"{converter}.schemas.enable": "false" for converter in converters}


@jpype.JImplements("io.debezium.engine.DebeziumEngine$ChangeConsumer", deferred=True)
class _Consumer:
    """Parses what the engine hands over; an error in here ends the engine."""

    def __init__(
        self, handle_batch: HandleBatch, time_columns: Mapping[str, str], fail: Callable[[BaseException], None]
    ) -> None:
        self._handle_batch = handle_batch
        self._time_columns = time_columns
        self._fail = fail
        self._committer: Any = None
        self._zoned: dict[str, tuple[Any, frozenset[str]]] = {}

    @jpype.JOverride  # type: ignore[untyped-decorator]
    def handleBatch(self, records: Any, committer: Any) -> None:  # noqa: N802 - Java's name
        self._committer = committer
        try:
            self._handle_batch([change for record in records if (change := self._change_record(record)) is not None])
        except BaseException as error:
            self._fail(error)
            raise

    @jpype.JOverride  # type: ignore[untyped-decorator]
    def supportsTombstoneEvents(self) -> bool:  # noqa: N802 - Java's name
        return True

    def acknowledge(self, record: Any) -> None:
        self._committer.markProcessed(record)
        self._committer.markBatchFinished()

    def _change_record(self, record: Any) -> ChangeRecord | None:
        """None for what is no change: a tombstone, the engine's own heartbeat."""
        value = record.value()
        topic = str(record.destination())
        if value is None or topic.startswith("__debezium-heartbeat"):
            return None
        zoned = self._zoned_columns(topic, record.sourceRecord().valueSchema())
        return ChangeRecord(parse(str(value), zoned, self._time_columns), record)

    def _zoned_columns(self, topic: str, schema: Any) -> Collection[str]:
        seen = self._zoned.get(topic)
        if seen is not None and seen[0].equals(schema):
            return seen[1]
        fields = schema.field("after").schema().fields()
        zoned = frozenset(str(field.name()) for field in fields if str(field.schema().name()) == _ZONED)
        self._zoned[topic] = (schema, zoned)
        return zoned


@jpype.JImplements("io.debezium.engine.DebeziumEngine$CompletionCallback", deferred=True)
class _Completion:
    def __init__(self, engine: DebeziumEngine) -> None:
        self._engine = engine

    @jpype.JOverride  # type: ignore[untyped-decorator]
    def handle(self, success: bool, message: Any, error: Any) -> None:
        cause = error
        while cause is not None and cause.getCause() is not None:
            cause = cause.getCause()
        because = "" if cause is None else f" {cause.toString()}"
        self._engine._complete(f"{message}{because}", bool(success) and error is None)


def _plain(value: Any) -> str | int | bool | None:
    if value is None:
        return None
    kind = str(value.getClass().getName())
    if kind == "java.lang.Boolean":
        return bool(value)
    return int(value) if kind in ("java.lang.Long", "java.lang.Integer") else str(value)


def _write_offsets(path: Path, name: str, server: str, offset: Offset) -> None:
    """Debezium's own file: a Java map of the JSON of name and partition to the JSON of the offset."""

    def encoded(document: object) -> Any:
        return jpype.JArray(jpype.JByte)(json.dumps(document, separators=(",", ":")).encode())

    offsets = jpype.JClass("java.util.HashMap")()
    offsets.put(encoded([name, {"server": server}]), encoded(offset))
    stream = jpype.JClass("java.io.ObjectOutputStream")(jpype.JClass("java.io.FileOutputStream")(str(path)))
    try:
        stream.writeObject(offsets)
    finally:
        stream.close()
