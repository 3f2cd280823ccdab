"""The event log: what was sent is in Kafka when flush returns, or the error names what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from adrank.contracts.settings import Events
from adrank.delivery import NotDeliveredError
from adrank.event_messages import EventMessageError
from serving import event_log
from serving.event_log import EventLog, EventLogError
from serving.router import Exposure, Routed
from tests.kafka_broker import Broker, free_port

pytestmark = pytest.mark.stack
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("broker"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def events(broker: Broker, request: pytest.FixtureRequest) -> Events:
    topic = f"events-{abs(hash(request.node.name))}"
    broker.create_topics(3, [topic])
    return Events(brokers=broker.address, client={**broker.client, "log_level": "0"}, topic=topic)


def row(event_id: str, search_id: str, **more: Any) -> dict[str, Any]:
    plain = {"event_type": "click", "event_time": NOW, "user_id": "u", "ad_id": "a", "position": 1}
    return {"event_id": event_id, "search_id": search_id, **plain, **more}


def messages(events: Events, count: int) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": events.brokers, "group.id": "reader", **events.client})
    consumer.assign([TopicPartition(events.topic, p, OFFSET_BEGINNING) for p in range(3)])
    found = consumer.consume(count, 10)
    consumer.close()
    return list(found)


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
    routed = Routed(("a2", "a1"), {}, Exposure("exp", "treatment", "0123", "staging", fallback=False))
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


def test_a_row_that_is_no_event_is_refused_before_it_is_sent(events: Events) -> None:
    log = EventLog(events)
    bad = [
        ({"colour": "red"}, "event 'e': unknown field colour"),
        ({"ad_id": None}, "event 'e': ad_id missing"),
        ({"event_type": "hover"}, "event_type is 'hover'"),
        ({"event_time": datetime(2026, 1, 1)}, "event_time is"),
        ({"revenue": float("nan")}, "event 'e': Out of range float"),
    ]
    for change, said in bad:
        with pytest.raises(EventMessageError, match=said):
            log.send([row("e", "s", **change)])
    log.flush()


def test_what_was_not_delivered_is_named(events: Events) -> None:
    nobody = {"brokers": f"127.0.0.1:{free_port()}", "client": {**events.client, "message.timeout.ms": "300"}}
    log = EventLog(events.model_copy(update=nobody))
    log.send([row("e1", "s"), row("e2", "s")])
    with pytest.raises(NotDeliveredError, match=rf"2 messages did not reach {events.topic}: event e1: .*; event e2: "):
        log.flush(5)
    log.flush(5)  # what failed was told once


def test_brokers_that_do_not_answer_are_named(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_METADATA_SECONDS", 0.3)
    nobody = events.model_copy(update={"brokers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(EventLogError, match=f"no metadata of {events.topic}"):
        EventLog(nobody).heartbeat(NOW)
