"""Send dead letters to the topic again, once what was wrong with them is put right.

    python -m ingestion.archiver.replay --from ISO --to ISO [--kind KIND] [--reason TEXT] [--dry-run] [--bucket B]

Takes the messages that were refused in ``[from, to)`` from ``raw/dead-letter/`` and produces each of them once,
unchanged and with the time at which it was first sent, to the topic of events. Put right first what refused them: a
setting (``allowed_lateness``, ``max_future``) or the code that decodes. A message that is refused again is a dead
letter again, and events that were sent twice are dropped by their ``event_id``, so a replay can be repeated.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Final

from pydantic import Field

from adrank.contracts import settings
from adrank.contracts.entry_points.command_line import LakeArguments, Time
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import micros
from adrank.kafka.producer import DeliveryError, ReliableProducer
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.archiver import dead_letters
from ingestion.archiver.dead_letters import DeadLetterRecord

_FLUSH_SECONDS: Final = 60
#: What came through a consumer must get back in: librdkafka receives no more than this, but by default sends only 1 MB.
_MAX_MESSAGE_BYTES: Final = 100_000_000


def replay(refused: Iterable[DeadLetterRecord], events: Events) -> int:
    """Produce the messages; returns how many. Raises :class:`DeliveryError` when Kafka lacks some of them."""
    limit = {"message.max.bytes": _MAX_MESSAGE_BYTES}
    producer = ReliableProducer(events, events.topic, lambda _: "dead letter", **limit)
    sent = 0
    for record in refused:
        producer.send(
            key=record.key,
            value=record.value,
            timestamp=micros(record.sent_at) // 1000,
            headers={"replayed": record.source.encode()},
        )
        sent += 1
    producer.flush(_FLUSH_SECONDS)
    return sent


class ReplayArguments(LakeArguments):
    """Send dead letters to the topic again, once what was wrong with them is put right."""

    program = "ingestion.archiver.replay"

    start: Time = Field(alias="from", description="refused at this time or later")
    end: Time = Field(alias="to", description="refused before this time")
    kind: str | None = Field(default=None, description="only refusals of this kind, such as too_late")
    reason: str = Field(default="", description="only reasons that contain this text")
    dry_run: bool = Field(default=False, description="count only")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = ReplayArguments.parse(arguments)
    given = settings.load()
    try:
        store = ObjectStore.connect(args.bucket, region=given.region)
        wanted = [
            record
            for record in dead_letters.read(store, args.start, args.end)
            if args.kind in (None, record.kind) and args.reason in record.reason
        ]
        sent = 0 if args.dry_run else replay(wanted, given.events)
    except (ObjectStoreError, DeliveryError) as error:
        print(error, file=sys.stderr)
        return 1
    for kind, count in sorted(Counter(record.kind for record in wanted).items()):
        print(f"{kind}: {count}")
    print(f"{len(wanted)} found, {sent} sent to {given.events.topic}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
