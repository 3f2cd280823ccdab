"""Messages that are no events: kept with the reason, in a topic for tools and in the lake for people and for replay.

A message may be written twice when an archiver dies in between; its source partition and offset tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from pydantic import BaseModel, ConfigDict

from adrank.contracts import lake, timestamps
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import as_utc, from_micros
from adrank.kafka.producer import ReliableProducer
from adrank.storage.object_store import ObjectStore
from ingestion.archiver.decoding import DeadLetter

_TIMEOUT_SECONDS: Final = 30
#: What of a message the topic gets; the next where that is larger than it takes.
_PARTS: Final = (("key", "value"), ("key",), ())


class DeadLetterRecord(BaseModel):
    """One line of a dead-letter file. ``key`` and ``value`` are the message's own bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    topic: str
    partition: int
    offset: int
    sent_at: datetime
    refused_at: datetime
    kind: str
    reason: str
    key: bytes | None
    value: bytes | None

    @property
    def source(self) -> str:
        """Which message it was."""
        return f"{self.topic}/{self.partition}/{self.offset}"


def records(topic: str, partition: int, letters: Sequence[DeadLetter], refused_at: datetime) -> list[DeadLetterRecord]:
    """The lines of what one partition refused."""
    return [
        DeadLetterRecord(
            topic=topic,
            partition=partition,
            offset=letter.offset,
            sent_at=from_micros(letter.timestamp),
            refused_at=refused_at,
            kind=letter.rejection.kind,
            reason=letter.rejection.reason,
            key=letter.key,
            value=letter.value,
        )
        for letter in letters
    ]


def file(refused: Sequence[DeadLetterRecord]) -> tuple[str, bytes]:
    """Key and bytes of the file that holds what one partition refused at one time."""
    first = refused[0]
    body = "".join(f"{record.model_dump_json()}\n" for record in refused).encode()
    name = f"part-{first.partition:05d}-{first.offset:015d}-{hashlib.sha256(body).hexdigest()[:16]}.jsonl"
    return lake.RAW_DEAD_LETTER.hour(first.refused_at) + name, body


def read(store: ObjectStore, start: datetime, end: datetime) -> Iterator[DeadLetterRecord]:
    """What was refused in ``[start, end)``, each message once, by topic, partition and offset."""
    found: dict[tuple[str, int, int], DeadLetterRecord] = {}
    for hour in timestamps.hours(start, end):
        for key in store.keys(lake.RAW_DEAD_LETTER.hour(hour)):
            for line in store.get(key).splitlines():
                record = DeadLetterRecord.model_validate_json(line)
                if as_utc(start) <= record.refused_at < as_utc(end):
                    found[(record.topic, record.partition, record.offset)] = record
    yield from (found[place] for place in sorted(found))


class DeadLetterTopic:
    """The topic beside the lake's prefix: the message as it came, with what was wrong in its headers.

    A message that is larger than the topic takes comes without its value (and, if that is not enough, without its key);
    the header ``whole`` then says its size and the lake's file that has it.
    """

    def __init__(self, events: Events) -> None:
        limit = {"message.timeout.ms": _TIMEOUT_SECONDS * 1000}
        self._producer = ReliableProducer(events, events.dead_letter_topic, lambda _: "dead letter", **limit)

    def send(self, refused: Mapping[str, Sequence[DeadLetterRecord]]) -> None:
        """Return when Kafka has them all, or raise :class:`adrank.kafka.producer.DeliveryError`.

        ``refused`` is by the file of the lake that holds it.
        """
        waiting = [(record, name) for name, records in refused.items() for record in records]
        for parts in _PARTS:
            too_large: list[tuple[DeadLetterRecord, str]] = []
            for record, name in waiting:
                headers = {"reason": record.reason, "kind": record.kind, "source": record.source}
                if "value" not in parts:
                    headers["whole"] = f"{len(record.value or b'')} bytes in {name}"
                self._producer.send(
                    **{part: getattr(record, part) for part in parts},
                    headers={header: text.encode() for header, text in headers.items()},
                    too_large=partial(too_large.append, (record, name)) if parts else None,
                )
            self._producer.flush(2 * _TIMEOUT_SECONDS)
            waiting = too_large
