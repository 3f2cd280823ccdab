"""The event log: what was sent is in Kafka when flush returns, or the error names what is not."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from adrank.contracts.settings import Events
from adrank.kafka import messages as event_messages
from adrank.kafka.messages import EventMessageError
from adrank.kafka.producer import DeliveryError
from ingestion.archiver import messages as archived_messages
from serving.router import event_log
from serving.router.event_log import EventLog, EventLogError
from serving.router.router import Exposure, RankResult
from tests.support.kafka_broker import Broker
from tests.support.ports import free_port

pytestmark = pytest.mark.stack
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CONNECT = Path(__file__).resolve().parents[4] / "include" / "ingestion" / "connect"
OFTEN = timedelta(milliseconds=50)


@pytest.fixture
def events(broker: Broker, request: pytest.FixtureRequest) -> Events:
    topic = f"events-{abs(hash(request.node.name))}"
    broker.create_topics(3, [topic])
    return Events(
        brokers=broker.address,
        client={**broker.client, "log_level": "0"},
        topic=topic,
        heartbeat_interval=timedelta(0),
    )


class Warnings(logging.Handler):
    """What the event log warns of, as it comes."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text: queue.Queue[str] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.text.put(record.getMessage())


@pytest.fixture
def warnings() -> Iterator[Warnings]:
    handler = Warnings()
    logging.getLogger(event_log.__name__).addHandler(handler)
    yield handler
    logging.getLogger(event_log.__name__).removeHandler(handler)


def row(event_id: str, search_id: str, **more: Any) -> dict[str, Any]:
    plain = {"event_type": "click", "event_time": NOW, "user_id": "u", "ad_id": "a", "position": 1}
    return {"event_id": event_id, "search_id": search_id, **plain, **more}


def messages(events: Events, count: int) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": events.brokers, "group.id": "reader", **events.client})
    consumer.assign([TopicPartition(events.topic, p, OFFSET_BEGINNING) for p in range(3)])
    found = consumer.consume(count, 10)
    consumer.close()
    return list(found)


def beats(events: Events, each: int) -> dict[int, list[Any]]:
    """The first messages of every partition."""
    found = {}
    for partition in range(3):
        consumer = Consumer({"bootstrap.servers": events.brokers, "group.id": "reader", **events.client})
        consumer.assign([TopicPartition(events.topic, partition, OFFSET_BEGINNING)])
        found[partition] = consumer.consume(each, 10)
        consumer.close()
        assert len(found[partition]) == each
    return found


def ends(events: Events) -> list[int]:
    consumer = Consumer({"bootstrap.servers": events.brokers, "group.id": "reader", **events.client})
    found = [consumer.get_watermark_offsets(TopicPartition(events.topic, p), 10)[1] for p in range(3)]
    consumer.close()
    return found


def test_events_of_one_search_stay_in_order_in_one_partition(events: Events) -> None:
    log = EventLog(events)
    log.send(row(f"{search}-{number}", search) for number in range(20) for search in ("s1", "s2", "s3"))
    log.flush()
    for search in ("s1", "s2", "s3"):
        found = [m for m in messages(events, 60) if m.key() == search.encode()]
        assert len({m.partition() for m in found}) == 1
        assert [json.loads(m.value())["event_id"] for m in found] == [f"{search}-{n}" for n in range(20)]


def test_impressions_say_what_the_router_decided(events: Events) -> None:
    request = {
        "search_id": "s",
        "user_id": "u",
        "event_time": NOW.isoformat(),
        "candidates": [{"ad_id": "a1", "context": {"slot": 1}}, {"ad_id": "a2", "context": {"slot": None}}],
    }
    routed = RankResult(("a2", "a1"), {}, Exposure("exp", "treatment", "0123", "staging", fallback=False))
    log = EventLog(events)
    assert log.impressions(request, routed, "x") == ["impression-s-a2", "impression-s-a1"]
    log.flush()
    first, second = (json.loads(m.value()) for m in messages(events, 2))
    assert (first["ad_id"], first["position"], first["context"]) == ("a2", 1, {})
    assert (second["ad_id"], second["position"], second["context"]) == ("a1", 2, {"slot": 1})
    assert {first[name] for name in ("variant", "experiment_id", "model_version")} == {"treatment", "exp", "0123"}


def test_a_heartbeat_reaches_every_partition(events: Events) -> None:
    log = EventLog(events)
    log.heartbeat(NOW)
    log.flush()
    assert sorted(m.partition() for m in messages(events, 3)) == [0, 1, 2]


def test_an_open_log_beats_by_itself_with_the_wall_clock(events: Events) -> None:
    began = datetime.now(UTC)
    with closing(EventLog(events.model_copy(update={"heartbeat_interval": OFTEN}))):
        found = beats(events, 3)
    for partition in range(3):
        text = [json.loads(m.value()) for m in found[partition]]
        assert {one["event_type"] for one in text} == {"heartbeat"}
        times = [one["event_time"] for one in text]
        assert times == sorted(set(times)), "the clock goes on"
        assert began.timestamp() * 1e6 - 1 <= times[0] <= times[-1] <= datetime.now(UTC).timestamp() * 1e6


def test_a_closed_log_beats_no_more(events: Events) -> None:
    log = EventLog(events.model_copy(update={"heartbeat_interval": OFTEN}))
    beats(events, 1)
    log.close()
    log.flush()
    before = ends(events)
    assert log._heartbeat_thread is not None
    assert not log._heartbeat_thread.is_alive()
    assert ends(events) == before


def test_closing_waits_for_the_beat_that_is_under_way(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, closed, overtaken = threading.Event(), threading.Event(), list[bool]()

    def slow(log: EventLog) -> list[int]:
        begun.set()
        assert log._closed.wait(20)
        overtaken.append(closed.wait(0.3))
        return [0]

    monkeypatch.setattr(EventLog, "_partitions", slow)
    log = EventLog(events.model_copy(update={"heartbeat_interval": OFTEN}))
    assert begun.wait(20)
    log.close()
    closed.set()
    assert overtaken == [False]


def test_nobody_beats_when_somebody_else_does(events: Events) -> None:
    assert EventLog(events)._heartbeat_thread is None


def test_a_beat_that_fails_is_logged_and_the_next_one_comes(
    events: Events, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [EventLogError("no metadata"), RuntimeError("nobody foresaw this")]
    really = EventLog._partitions

    def at_first_not(log: EventLog) -> list[int]:
        if errors:
            raise errors.pop(0)
        return really(log)

    monkeypatch.setattr(EventLog, "_partitions", at_first_not)
    with closing(EventLog(events.model_copy(update={"heartbeat_interval": OFTEN}))) as log:
        beats(events, 1)
        log.flush()
    assert warnings.text.get(timeout=1) == f"No heartbeat on {events.topic}: no metadata"
    assert warnings.text.get(timeout=1) == f"No heartbeat on {events.topic}: nobody foresaw this"


def test_a_beat_that_is_not_delivered_is_logged_and_not_told_to_whoever_flushes(
    events: Events, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventLog, "_partitions", lambda _: [0])
    nobody = {"brokers": f"127.0.0.1:{free_port()}", "client": {**events.client, "message.timeout.ms": "300"}}
    with closing(EventLog(events.model_copy(update={**nobody, "heartbeat_interval": OFTEN}))) as log:
        for _ in range(2):
            assert "A heartbeat is lost" in warnings.text.get(timeout=20)
    log.flush(10)


def test_a_heartbeat_has_the_header_by_which_the_sink_drops_it(events: Events) -> None:
    sink = json.loads((CONNECT / "s3-sink-events.json").read_text())["config"]
    predicate = f"predicates.{sink['transforms.heartbeats.predicate']}"
    assert sink[f"{predicate}.type"].endswith(".HasHeaderKey")
    log = EventLog(events)
    log.heartbeat(NOW)
    log.send([row("e", "s")])
    log.flush()
    for message in messages(events, 4):
        headers = [name for name, _ in message.headers() or ()]
        beat = json.loads(message.value())["event_type"] == "heartbeat"
        assert (sink[f"{predicate}.name"] in headers) is beat


def test_an_own_beat_has_that_header_too(events: Events) -> None:
    with closing(EventLog(events.model_copy(update={"heartbeat_interval": OFTEN}))):
        found = beats(events, 1)
    assert all(dict(m.headers()) == event_messages.HEARTBEAT_HEADERS for (m,) in found.values())


def test_with_a_schema_id_everything_has_the_registrys_frame(events: Events) -> None:
    log = EventLog(events.model_copy(update={"schema_id": 0x0102}))
    log.send([row("e", "s")])
    log.heartbeat(NOW)
    log.flush()
    found = [m.value() for m in messages(events, 4)]
    assert {value[:5] for value in found} == {b"\0\0\0\1\2"}
    assert sorted(json.loads(value[5:])["event_type"] for value in found) == ["click", *["heartbeat"] * 3]
    decoded = archived_messages.decode(found)
    assert sorted(what.event_time for what in decoded if not isinstance(what, archived_messages.Rejection)) == (
        [int(NOW.timestamp() * 1e6)] * 4
    )


def test_a_row_that_is_no_event_is_refused_before_it_is_sent(events: Events) -> None:
    log = EventLog(events)
    bad = [
        ({"colour": "red"}, "event 'e': unknown field colour"),
        ({"ad_id": None}, "event 'e': ad_id missing"),
        ({"event_type": "hover"}, "event_type is 'hover'"),
        ({"event_time": datetime(2026, 1, 1)}, "event_time is"),
        ({"revenue": float("nan")}, "event 'e': Out of range float"),
    ]
    for change, text in bad:
        with pytest.raises(EventMessageError, match=text):
            log.send([row("e", "s", **change)])
    log.flush()


def test_what_was_not_delivered_is_named(events: Events) -> None:
    nobody = {"brokers": f"127.0.0.1:{free_port()}", "client": {**events.client, "message.timeout.ms": "300"}}
    log = EventLog(events.model_copy(update=nobody))
    log.send([row("e1", "s"), row("e2", "s")])
    with pytest.raises(DeliveryError, match=rf"2 messages did not reach {events.topic}: event e1: .*; event e2: "):
        log.flush(5)
    log.flush(5)  # what failed was told once


def test_what_was_not_delivered_is_named_in_its_frame_too(events: Events) -> None:
    nobody = {"brokers": f"127.0.0.1:{free_port()}", "client": {**events.client, "message.timeout.ms": "300"}}
    log = EventLog(events.model_copy(update={**nobody, "schema_id": ord("{")}))
    log.send([row("e1", "s")])
    with pytest.raises(DeliveryError, match="event e1: "):
        log.flush(5)


def test_brokers_that_do_not_answer_are_named(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_METADATA_SECONDS", 0.3)
    nobody = events.model_copy(update={"brokers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(EventLogError, match=f"no metadata of {events.topic}"):
        EventLog(nobody).heartbeat(NOW)
