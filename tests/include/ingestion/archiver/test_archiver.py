"""From Kafka to closed hours: what was sent is read back through manifests, once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from adrank.contracts import lake, timestamps
from adrank.contracts import metrics as names
from adrank.contracts.manifests import RawManifest
from adrank.contracts.timestamps import floor_hour
from adrank.kafka.messages import encode
from adrank.storage.documents import FencedError
from adrank.storage.object_store import ObjectStoreError
from ingestion.archiver import checkpoints, dead_letters, replay
from ingestion.archiver.archiver import Archiver
from ingestion.archiver.checkpoints import OwnedCheckpoint
from ingestion.archiver.consumer import assigned_partitions
from ingestion.archiver.hour_closer import HourCloser
from ingestion.archiver.metrics import Metrics
from ingestion.landing import raw_events
from ingestion.landing.event_table import EVENT_SCHEMA, empty
from tests.include.ingestion.archiver.stream import HOUR, Stream, row, value
from tests.support.kafka_broker import StoreProcess
from tests.support.ports import free_port

pytestmark = pytest.mark.stack
MINUTE = timedelta(minutes=1)


def test_an_hour_holds_what_was_sent_for_it_once_the_watermark_has_passed(stream: Stream) -> None:
    with stream.archived() as metrics:
        stream.say(
            row("a", HOUR + 1 * MINUTE, context={"slot": 2.0, "unknown": None}),
            row("b", HOUR + 59 * MINUTE, revenue=1.5, variant="treatment"),
            row("c", HOUR + 61 * MINUTE, event_type="impression"),
        )
        stream.reach(HOUR + 69 * MINUTE)
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 3)
        assert stream.manifest(HOUR) is None, "the grace is not over"
        stream.reach(HOUR + 70 * MINUTE)
        manifest = stream.closed(HOUR)

    assert (manifest.rows, manifest.revision, manifest.late_rows) == (2, 0, 0)
    assert manifest.watermark == manifest.revision_time == HOUR + timestamps.HOUR
    assert stream.rows(HOUR).schema.equals(EVENT_SCHEMA)
    first = stream.rows(HOUR).sort_by("event_time").to_pylist()[0]
    assert (first["event_id"], first["event_time"], first["context"]) == ("a", HOUR + MINUTE, [("slot", 2.0)])
    assert abs(first["ingest_time"] - datetime.now(UTC)) < timedelta(minutes=5), "Kafka's own time"
    for file in manifest.files:
        body = stream.lake.get(lake.RAW_EVENTS.hour(HOUR) + file.name)
        assert hashlib.sha256(body).hexdigest() == file.sha256
    assert value(metrics, names.ARCHIVER_HOURS_CLOSED) == 1
    assert value(metrics, names.BUSINESS_REVENUE, variant="treatment") == 1.5


def test_hours_without_events_are_closed_too(stream: Stream) -> None:
    with stream.archived():
        stream.say(row("a", HOUR))
        stream.reach(HOUR + timedelta(hours=4))
        for empty_hour in (HOUR + timestamps.HOUR, HOUR + 2 * timestamps.HOUR):
            manifest = stream.closed(empty_hour)
            assert (manifest.rows, manifest.files, manifest.revision) == (0, (), 0)


def test_a_late_event_makes_a_revision_of_its_hour_alone(stream: Stream) -> None:
    with stream.archived() as metrics:
        stream.say(row("a", HOUR), row("b", HOUR + timestamps.HOUR))
        stream.reach(HOUR + timedelta(hours=2.5))
        before = stream.closed(HOUR + timestamps.HOUR)
        first = stream.closed(HOUR)
        stream.say(row("late", HOUR + 5 * MINUTE), row("later", HOUR + 6 * MINUTE))
        stream.until(lambda: value(metrics, names.ARCHIVER_LATE_ROWS) == 2)
        assert stream.manifest(HOUR) == first, "late events wait for the next hour, and for each other"
        stream.reach(HOUR + timedelta(hours=3.5))
        revised = stream.closed(HOUR, revision=1)
        stream.until(lambda: value(metrics, names.ARCHIVER_HOURS_REVISED) == 1)

    assert stream.ids(HOUR) == ["a", "late", "later"]
    assert (revised.revision, revised.rows, revised.late_rows) == (1, 3, 2)
    assert revised.revision_time == HOUR + timedelta(hours=3.5) - stream.events.grace, "event time, not today"
    assert stream.manifest(HOUR + timestamps.HOUR) == before
    kept = [stream.lake.get(lake.RAW_EVENTS.manifest_revision(HOUR, number)) for number in (0, 1)]
    assert [RawManifest.model_validate_json(body) for body in kept] == [first, revised]


def test_a_late_event_is_refused_beyond_the_lookback(make_stream: Callable[..., Stream]) -> None:
    stream = make_stream(allowed_lateness=timedelta(hours=1))
    with stream.archived() as metrics:
        stream.reach(HOUR)
        stream.say(row("old", HOUR - timedelta(hours=1, seconds=1)), row("oldish", HOUR - timedelta(hours=1)))
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="too_late") == 1)
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 1)


def test_hours_go_on_where_history_ended(stream: Stream) -> None:
    raw_events.land_hour(stream.lake, HOUR - 3 * timestamps.HOUR, empty())
    with stream.archived():
        stream.say(row("answer to history", HOUR - 3 * timestamps.HOUR), row("a", HOUR))
        stream.reach(HOUR + 2 * timestamps.HOUR)
        stream.closed(HOUR)
        revised = stream.closed(HOUR - 3 * timestamps.HOUR, revision=1)
    assert revised.rows == 1
    assert [m.rows for h in (2, 1) if (m := stream.manifest(HOUR - h * timestamps.HOUR))] == [0, 0]


def test_an_event_from_before_the_log_began_leaves_no_gap(stream: Stream) -> None:
    with stream.archived():
        stream.say(row("a", HOUR))
        stream.reach(HOUR + 2 * timestamps.HOUR)
        stream.closed(HOUR)
        stream.say(row("early", HOUR - 3 * timestamps.HOUR))
        stream.reach(HOUR + 3 * timestamps.HOUR)
        stream.closed(HOUR - timestamps.HOUR)
    hours = [stream.manifest(HOUR - number * timestamps.HOUR) for number in (3, 2, 1)]
    assert [(m.rows, m.revision) for m in hours if m] == [(1, 0), (0, 0), (0, 0)]


def test_poison_is_kept_with_its_reason_in_topic_and_lake_and_stops_nobody(stream: Stream) -> None:
    poison = [b"\xff\x00", b"", b"[1]", b'{"event_type":"click"}', b'{"event_type":"heartbeat","event_time":-1}']
    began = datetime.now(UTC)
    with stream.archived() as metrics:
        stream.say_raw(*poison)
        stream.say(row("good", HOUR))
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 1)
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="missing_field") == 1)

    kept = list(dead_letters.read(stream.lake, began, datetime.now(UTC)))
    assert [record.value for record in kept] == poison
    assert kept[3].reason == "Object missing required field `event_time`"
    letters = stream.letters(len(poison))
    assert [letter.value() for letter in letters] == poison
    headers = dict(letters[3].headers())
    assert (headers["reason"].decode(), headers["source"].decode()) == (kept[3].reason, kept[3].source)


@pytest.mark.parametrize("size", [999_900, 1_040_000])
def test_poison_larger_than_the_topic_takes_is_whole_in_the_lake_and_stops_nobody(stream: Stream, size: int) -> None:
    began = datetime.now(UTC)
    with stream.archived() as metrics:
        stream.say_large(b"x" * size)
        stream.say_raw(b"small")
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="not_json") == 2)
        stream.say(row("good", HOUR))
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 1)
        assert value(metrics, names.ARCHIVER_RETRIES) == 0

    kept = {record.key: record for record in dead_letters.read(stream.lake, began, datetime.now(UTC))}
    assert kept[b"large"].value == b"x" * size
    letters = {letter.key(): letter for letter in stream.letters(2)}
    assert (letters[b"large"].value(), letters[b"raw"].value()) == (None, b"small")
    headers = {name: text.decode() for name, text in letters[b"large"].headers()}
    assert (headers["reason"], headers["source"]) == (kept[b"large"].reason, kept[b"large"].source)
    length, _, file = headers["whole"].partition(" bytes in ")
    assert int(length) == size
    assert kept[b"large"].model_dump_json().encode() in stream.lake.get(file).splitlines()
    assert "whole" not in dict(letters[b"raw"].headers())


def test_replay_sends_a_message_as_large_as_was_received(stream: Stream) -> None:
    began = datetime.now(UTC)
    large = row("large", datetime.now(UTC) + timedelta(hours=3), user_id="u" * 1_040_000)
    with stream.archived(max_future=timedelta(hours=1)) as metrics:
        stream.say_large(encode(large))
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="too_far_ahead") == 1)
    assert replay.replay(dead_letters.read(stream.lake, began, datetime.now(UTC)), stream.events) == 1
    with stream.archived() as metrics:
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 1)


def test_a_replayed_message_joins_the_rest_of_its_search(stream: Stream) -> None:
    began = datetime.now(UTC)
    ahead = datetime.now(UTC) + timedelta(hours=3)
    # What Java's clients make of these keys, by Kafka's own tests.
    hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
    searches = list(hashes)
    with stream.archived(max_future=timedelta(hours=1)) as metrics:
        stream.say(*(row(search, ahead, search_id=search) for search in searches))
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="too_far_ahead") == len(searches))
    first = list(dead_letters.read(stream.lake, began, datetime.now(UTC)))
    replay.replay(first, stream.events)
    with stream.archived(max_future=timedelta(hours=1)) as metrics:
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="too_far_ahead") == len(searches))
    places: dict[bytes | None, set[int]] = {}
    for record in dead_letters.read(stream.lake, began, datetime.now(UTC)):
        places.setdefault(record.key, set()).add(record.partition)
    assert places == {search.encode(): {(hashed & 0x7FFFFFFF) % 3} for search, hashed in hashes.items()}
    assert len(set(map(frozenset, places.values()))) > 1


def test_replay_lands_what_was_refused_once_the_cause_is_put_right(
    stream: Stream, object_store: StoreProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began = datetime.now(UTC)
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    with stream.archived(max_future=timedelta(hours=1)) as metrics:
        stream.say(row("ahead", ahead))
        stream.until(lambda: value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="too_far_ahead") == 1)

    for name, setting in object_store.client_environment.items():
        monkeypatch.setenv(name, setting)
    monkeypatch.setattr(replay.settings, "load", lambda: replay.settings.Settings(events=stream.events))
    window = ["--from", began.isoformat(), "--to", (datetime.now(UTC) + MINUTE).isoformat()]
    assert replay.main([*window, "--bucket", stream.lake.bucket]) == 0
    assert capsys.readouterr().out == f"too_far_ahead: 1\n1 found, 1 sent to {stream.events.topic}\n"

    with stream.archived() as metrics:
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 1)
        stream.reach(ahead + timedelta(hours=2))
        stream.closed(floor_hour(ahead))
    assert stream.ids(floor_hour(ahead)) == ["ahead"]


def test_what_was_read_but_not_rolled_is_read_again(make_stream: Callable[..., Stream]) -> None:
    stream = make_stream(flush_interval=timedelta(minutes=5))
    stream.say(row("a", HOUR))
    archiver = Archiver(stream.lake, stream.events, Metrics(), threading.Event(), 0, 1)
    stream.until(lambda: archiver.step() or any(held.rows for held in archiver._buffers.values()))
    archiver._consumer.close()  # as if killed

    with stream.archived(flush_interval=timedelta(seconds=0.1)):
        stream.say(row("b", HOUR))
        stream.reach(HOUR + 2 * timestamps.HOUR)
        stream.closed(HOUR)
    assert stream.ids(HOUR) == ["a", "b"]


def test_files_that_no_checkpoint_knew_are_not_read(stream: Stream) -> None:
    stream.lake.put(lake.RAW_EVENTS.hour(HOUR) + "part-00000-orphan.parquet", b"written before a kill")
    with stream.archived():
        stream.say(row("a", HOUR))
        stream.reach(HOUR + 2 * timestamps.HOUR)
        manifest = stream.closed(HOUR)
    assert [file.rows for file in manifest.files] == [1]


def test_an_archiver_that_was_thought_dead_loses(stream: Stream) -> None:
    zombie = OwnedCheckpoint.acquire(stream.lake, stream.events.topic, 0)
    heir = OwnedCheckpoint.acquire(stream.lake, stream.events.topic, 0)
    with pytest.raises(FencedError, match=f"partition 0 of {stream.events.topic} was taken over"):
        zombie.save(zombie.current.model_copy(update={"next_offset": 7}))
    heir.save(heir.current.model_copy(update={"next_offset": 8}))
    assert OwnedCheckpoint.acquire(stream.lake, stream.events.topic, 0).current.next_offset == 8


def test_a_running_archiver_ends_with_an_error_when_another_takes_over(stream: Stream) -> None:
    archiver = Archiver(stream.lake, stream.events, Metrics(), threading.Event(), 0, 1)
    for partition in range(3):
        OwnedCheckpoint.acquire(stream.lake, stream.events.topic, partition)
    stream.say(row("a", HOUR))
    with pytest.raises(FencedError, match="taken over by another archiver"):
        archiver.run()


def test_two_cannot_close_the_hours_of_one_topic(stream: Stream) -> None:
    zombie = HourCloser(stream.lake, stream.events, 3)
    HourCloser(stream.lake, stream.events, 3)
    for partition in range(3):
        owned = OwnedCheckpoint.acquire(stream.lake, stream.events.topic, partition)
        owned.save(owned.current.model_copy(update={"clock": HOUR, "began": HOUR}))
    with pytest.raises(FencedError, match="another archiver closes the hours"):
        zombie.close()


def test_a_silent_partition_holds_hours_until_it_counts_as_idle(make_stream: Callable[..., Stream]) -> None:
    stream = make_stream(idle_timeout=timedelta(minutes=5))
    numbers = itertools.count()

    def say_more() -> None:  # of three partitions two hear nothing
        stream.say(row(str(next(numbers)), HOUR + 2 * timestamps.HOUR, search_id="s"))

    with stream.archived() as metrics:
        stream.say(row("a", HOUR, search_id="s"))
        say_more()
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 2)
    assert stream.manifest(HOUR) is None
    with stream.archived(idle_timeout=timedelta(seconds=0.3)):
        stream.until(lambda: say_more() or stream.manifest(HOUR))
        assert stream.manifest(HOUR + 2 * timestamps.HOUR) is None


def test_an_idle_partition_is_judged_by_the_closed_hours_not_by_its_old_clock(
    make_stream: Callable[..., Stream],
) -> None:
    stream = make_stream(allowed_lateness=timedelta(hours=2), idle_timeout=timedelta(seconds=0.3))
    numbers = itertools.count()
    reached = HOUR + 9 * timestamps.HOUR
    # Within the lookback of what partition 1 says last, not of the watermark.
    fresh, old = reached - timedelta(hours=1.5), reached - timedelta(hours=3)

    def say_on(partition: int, moment: datetime) -> None:
        stream.say_to(partition, row(str(next(numbers)), moment))

    def too_late(metrics: Metrics) -> float:
        return value(metrics, names.ARCHIVER_DEAD_LETTERS, reason="too_late")

    with stream.archived(0, 2), stream.archived(1, 2) as idle:  # instance 1 has partition 1 and closes no hours
        stream.reach(HOUR)
        stream.until(lambda: say_on(0, reached + stream.events.grace) or stream.manifest(reached - timestamps.HOUR))
        say_on(1, fresh)
        stream.until(lambda: value(idle, names.ARCHIVER_ROWS) == 1)
        stream.until(lambda: say_on(1, old) or too_late(idle))
    say_on(1, old)
    with stream.archived(1, 2) as restarted:
        stream.until(lambda: value(restarted, names.ARCHIVER_MESSAGES))
    assert too_late(restarted) == value(restarted, names.ARCHIVER_MESSAGES)


def test_an_event_ahead_of_the_wall_clock_lands_but_does_not_close_the_hour(make_stream: Callable[..., Stream]) -> None:
    stream = make_stream(max_future=timedelta(hours=1), clock_skew=MINUTE, grace=timedelta(0))
    now = datetime.now(UTC)
    hour = floor_hour(now)
    with stream.archived() as metrics:
        for partition in range(3):
            ahead = row(f"ahead-{partition}", now + 55 * MINUTE)
            stream.say_to(partition, row(f"now-{partition}", now), ahead)
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 6)
        known = stream.until(
            lambda: value(metrics, names.ARCHIVER_WATERMARK), lambda watermark: watermark > now.timestamp()
        )
    reached = datetime.fromtimestamp(known, UTC)
    assert reached <= datetime.now(UTC) + MINUTE
    assert (stream.manifest(hour) is not None) == (reached >= hour + timestamps.HOUR), "closed only when it has ended"


def test_kafkas_tools_see_how_far_the_lake_is(stream: Stream) -> None:
    with stream.archived() as metrics:
        stream.say(*(row(str(number), HOUR) for number in range(20)))
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 20)
        stream.until(lambda: sum(value(metrics, names.ARCHIVER_LAG, partition=str(p)) for p in range(3)) == 0)
    group = {"group.id": stream.events.consumer_group}
    consumer = Consumer({"bootstrap.servers": stream.events.brokers, **group, **stream.events.client})
    places = consumer.committed([TopicPartition(stream.events.topic, p) for p in range(3)], timeout=10)
    consumer.close()
    assert sum(max(place.offset, 0) for place in places) == 20


def test_business_events_are_counted_once_however_often_they_are_delivered(stream: Stream) -> None:
    shown = row("i1", HOUR, event_type="impression", variant="control", search_id="s")
    sold = row("x1", HOUR, event_type="sale", variant="control", revenue=9.5, search_id="s")
    with stream.archived() as metrics:
        stream.say(shown, row("i2", HOUR, event_type="impression", variant="control", search_id="s"), sold)
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 3)
        stream.say(shown, sold, row("c", HOUR, variant="made up by a client"))
        stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 6)
    assert value(metrics, names.BUSINESS_EVENTS, event_type="impression", variant="control") == 2
    assert value(metrics, names.BUSINESS_EVENTS, event_type="click", variant="other") == 1
    assert value(metrics, names.BUSINESS_SEARCHES, variant="control") == 1
    assert value(metrics, names.BUSINESS_REVENUE, variant="control") == 9.5


def test_a_store_that_refuses_is_waited_for_and_nothing_is_lost(stream: Stream, object_store: StoreProcess) -> None:
    with stream.archived() as metrics:
        stream.reach(HOUR)
        object_store.refuse_writes(60)
        stream.say(row("a", HOUR))
        stream.until(lambda: value(metrics, names.ARCHIVER_RETRIES) >= 1)
        stream.say(row("b", HOUR))
        object_store.allow_writes()
        stream.reach(HOUR + 2 * timestamps.HOUR)
        stream.closed(HOUR)
    assert stream.ids(HOUR) == ["a", "b"]


def test_while_a_roll_waits_for_the_store_one_more_is_read_and_no_third(
    make_stream: Callable[..., Stream], object_store: StoreProcess
) -> None:
    stream = make_stream(flush_rows=1, flush_interval=timedelta(minutes=5))
    metrics, stop = Metrics(), threading.Event()
    archiver = Archiver(stream.lake, stream.events, metrics, stop, 0, 1)

    def retries_after(count: float) -> bool:
        return value(metrics, names.ARCHIVER_RETRIES) >= count + 2

    def held() -> int:
        return sum(held.rows for held in archiver._buffers.values())

    object_store.refuse_writes(60)
    stream.say(row("a", HOUR))
    stream.until(lambda: archiver.step() or retries_after(0))
    running = threading.Thread(target=archiver.run)
    running.start()
    stream.say(row("b", HOUR))
    stream.until(lambda: held() == 1)
    stream.say(row("c", HOUR))
    seen = value(metrics, names.ARCHIVER_RETRIES)
    stream.until(lambda: retries_after(seen))
    assert held() == 1, "b is held, c waits in Kafka"

    object_store.allow_writes()
    stream.until(lambda: value(metrics, names.ARCHIVER_ROWS) == 3)
    stop.set()
    running.join()


def test_a_bucket_that_is_not_there_is_an_error_at_once(stream: Stream) -> None:
    stream.lake.bucket = "no-such-bucket"
    with pytest.raises(ObjectStoreError, match="no-such-bucket"):
        Archiver(stream.lake, stream.events, Metrics(), threading.Event(), 0, 1)


def test_two_instances_share_the_partitions() -> None:
    assert [list(assigned_partitions(5, instance, 2)) for instance in (0, 1)] == [[0, 2, 4], [1, 3]]


def test_the_command_rolls_what_it_holds_when_it_is_told_to_stop(
    make_stream: Callable[..., Stream], object_store: StoreProcess
) -> None:
    stream = make_stream(flush_interval=timedelta(minutes=5), metrics_port=free_port())
    stream.say(row("a", HOUR), row("b", HOUR))
    environment = {
        **object_store.client_environment,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "ADRANK_EVENTS": stream.events.model_dump_json(),
        "ADRANK_LAKE__BUCKET": stream.lake.bucket,
    }
    command = [sys.executable, "-m", "ingestion.archiver"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE)

    def lag() -> float:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            found = re.findall(rf"^{names.ARCHIVER_LAG}{{.*}} (.*)$", answer.read().decode(), re.MULTILINE)
            return sum(map(float, found)) if len(found) == 3 else -1
        return -1

    url = f"http://127.0.0.1:{stream.events.metrics_port}/metrics"
    stream.until(lag, lambda messages: messages == 2)
    process.terminate()
    _, output = process.communicate(timeout=30)
    assert process.returncode == 0, output
    known = checkpoints.read(stream.lake, stream.events.topic, range(3))
    assert sum(checkpoint.rows for checkpoint in known if checkpoint) == 2
