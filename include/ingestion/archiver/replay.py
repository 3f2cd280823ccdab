"""Send dead letters to the topic again, once what was wrong with them is put right.

    python -m ingestion.archiver.replay --from ISO --to ISO [--kind KIND] [--reason TEXT] [--dry-run] [--bucket B]

Takes the messages that were refused in ``[from, to)`` from ``raw/dead-letter/`` and produces each of them once,
unchanged and with the time at which it was first sent, to the topic of events. Put right first what refused them: a
setting (``allowed_lateness``, ``max_future``) or the code that decodes. A message that is refused again is a dead
letter again, and events that were sent twice are dropped by their ``event_id``, so a replay can be repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from adrank.contracts import settings
from adrank.contracts.settings import Events
from adrank.contracts.timestamps import as_utc, micros
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


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    known = settings.load()
    parser = argparse.ArgumentParser(prog="ingestion.archiver.replay", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="start", type=_moment, required=True, help="refused at this time or later")
    parser.add_argument("--to", dest="end", type=_moment, required=True, help="refused before this time")
    parser.add_argument("--kind", help="only refusals of this kind, such as too_late")
    parser.add_argument("--reason", default="", help="only reasons that contain this text")
    parser.add_argument("--dry-run", action="store_true", help="count only")
    parser.add_argument("--bucket", default=known.lake.bucket, help="bucket of the lake")
    chosen = parser.parse_args(arguments)
    try:
        store = ObjectStore.connect(chosen.bucket, region=known.region)
        wanted = [
            record
            for record in dead_letters.read(store, chosen.start, chosen.end)
            if chosen.kind in (None, record.kind) and chosen.reason in record.reason
        ]
        sent = 0 if chosen.dry_run else replay(wanted, known.events)
    except (ObjectStoreError, DeliveryError) as error:
        print(error, file=sys.stderr)
        return 1
    for kind, count in sorted(Counter(record.kind for record in wanted).items()):
        print(f"{kind}: {count}")
    print(f"{len(wanted)} found, {sent} sent to {known.events.topic}")
    return 0


def _moment(text: str) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-05-01T12:00:00Z: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
