"""The connectors' configurations say what the embedded archiver and capture do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from adrank.contracts import lake
from adrank.contracts.events import EVENT_COLUMNS, EVENT_TYPES, REQUIRED_EVENT_COLUMNS
from adrank.contracts.settings import Cdc, Events, Lake
from adrank.kafka import messages
from ingestion.capture.database import Credentials, SourceDatabase
from ingestion.capture.engine import properties
from ingestion.connect.close_hours import GROUP
from ingestion.landing.changes import TABLES

FOLDER = Path(__file__).resolve().parents[4] / "include" / "ingestion" / "connect"
HOUR = datetime(2026, 3, 1, 5, tzinfo=UTC)


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def folder_of(sink: dict[str, str], topic: str) -> str:
    """Where the sink puts a topic's records of :data:`HOUR`, in the words of its own documentation."""
    path = sink["path.format"].replace("'", "")
    for joda, python in (("YYYY", "%Y"), ("MM", "%m"), ("HH", "%H"), ("-dd", "-%d")):
        path = path.replace(joda, python)
    return f"{sink['topics.dir']}/{topic}/{HOUR.strftime(path)}/"


def test_events_land_where_the_archiver_puts_them() -> None:
    document = load("s3-sink-events.json")
    sink = document["config"]
    assert folder_of(sink, sink["topics"]) == lake.RAW_EVENTS.hour(HOUR)
    assert sink["s3.bucket.name"] == Lake().bucket
    assert sink["errors.deadletterqueue.topic.name"] == Events().dead_letter_topic
    assert f"connect-{document['name']}" == GROUP


def test_changes_land_where_the_capture_puts_them() -> None:
    sink = load("s3-sink-cdc.json")["config"]
    assert tuple(sink["topics"].split(",")) == TABLES
    for table in TABLES:
        assert folder_of(sink, table) == lake.RAW_CDC(table).hour(HOUR)


def test_the_connector_is_configured_as_the_embedded_engine() -> None:
    connector = load("debezium-postgres.json")["config"]
    engine = properties(
        Cdc(), Credentials("u", "p"), SourceDatabase(log="adrank", has_publication=False, has_slot=False)
    )
    own = {"name", "database.user", "database.password"}
    # A cluster keeps offsets itself, tries again by its own rules, and is not asked for the lake's own positions.
    clusters = ("offset.", "errors.", "slot.max", "slot.retry", "converter", "poll.", "max.", "internal.")
    shared = {key for key in engine.keys() - own if not key.startswith(clusters)}
    assert {key: connector.get(key) for key in shared} == {key: engine[key] for key in shared}


def test_the_schema_names_the_contracts_columns() -> None:
    schema = load("ranking-event.schema.json")
    assert list(schema["properties"]) == list(EVENT_COLUMNS)
    assert schema["required"] == list(REQUIRED_EVENT_COLUMNS)
    assert schema["properties"]["event_type"]["enum"] == [*EVENT_TYPES, messages.HEARTBEAT]


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"context": {"slot": 1.5}, "revenue": 2.0, "ingest_time": HOUR}, True),
        ({"position": 0}, False),
        ({"context": {"slot": "first"}}, False),
    ],
)
def test_messages_are_what_the_schema_says(change: dict[str, Any], valid: bool) -> None:
    plain = {"event_id": "e", "event_type": "click", "event_time": HOUR, "user_id": "u", "search_id": "s", "ad_id": "a"}
    message = json.loads(messages.encode({**plain, "position": 1, **change}))
    assert Draft7Validator(load("ranking-event.schema.json")).is_valid(message) is valid


def test_a_heartbeat_has_every_field_that_the_converter_requires() -> None:
    """The converter comes before the filter, and what it cannot convert is a dead letter."""
    schema = load("ranking-event.schema.json")
    Draft7Validator(schema).validate(json.loads(messages.heartbeat(HOUR)))


def test_the_sink_reads_the_frame_that_producers_write() -> None:
    sink = load("s3-sink-events.json")["config"]
    assert sink["value.converter"] == "io.confluent.connect.json.JsonSchemaConverter"
    assert messages.frame(258) == b"\0" + (258).to_bytes(4, "big")
    assert messages.frame(Events().schema_id) == b"", "nothing is framed unless a registry is there"


def test_no_configuration_holds_a_password() -> None:
    for file in FOLDER.glob("*.json"):
        for key, value in load(file.name).get("config", {}).items():
            assert "password" not in key or value.startswith("${"), f"{file.name}: {key}"
