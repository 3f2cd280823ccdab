"""Random changes of ads as change data capture tells them, and a lake of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import CdcManifest, DataFile
from adrank.contracts.timestamps import DAY, HOUR, floor_hour

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
#: The hour in which a change lands, and its envelope.
Change = tuple[datetime, dict[str, Any]]


def change(
    op: str,
    said: datetime,
    lsn: int,
    key: str | None,
    price: float = 0,
    log: str | None = "a",
    created: datetime | None = None,
) -> dict[str, Any]:
    """An envelope; without ``log`` as history is landed in bulk, without ``key`` of a truncation."""
    row = None if key is None else {"ad_id": key, "price": price, "created_at": created and _micros(created)}
    images = {"before": row if op == "d" else None, "after": None if op == "d" else row}
    source = {"name": log, "table": "ads", "lsn": lsn}
    return {"op": op, "ts_ms": _micros(said) // 1000, "change_us": _micros(said), **images, "source": source}


def orderly(pick: Random, days: int, truncations: bool) -> list[Change]:
    """Changes of many ads: a snapshot, bulk history, one log and then two, times that stand still or go back within an
    hour, deliveries that come twice, rows that go and come again, tables that are emptied.
    """
    keys = [f"ad-{number}" for number in range(30)]
    found: list[Change] = []
    for key in keys[:10]:
        created = pick.choice((None, FIRST - 30 * HOUR, FIRST + 2 * HOUR))
        found.append((FIRST, change("r", FIRST, 5, key, 1, created=created)))
    for number in range(8):
        said = FIRST - number * HOUR
        found.append((FIRST, change("r", said, number, f"bulk-{number}", 1, None, FIRST - 4 * DAY)))
    count = 12 * days
    for number in range(count):
        hour = FIRST + (number * 24 * days // count) * HOUR
        log = "z" if hour > FIRST + 30 * HOUR and pick.random() < 0.5 else "a"
        if truncations and number % 17 == 11:
            found.append((hour, change("t", hour + HOUR * pick.random(), 1000 * number, None, log=log)))
            continue
        for step in range(pick.randrange(1, 5)):
            # Within an hour the log and the clock may disagree.
            said = hour + HOUR * pick.random()
            op = pick.choices("curd", (3, 4, 1, 2))[0]
            created = pick.choice((None, hour - 5 * HOUR, hour + 5 * HOUR))
            told = change(op, said, 1000 * number + step, pick.choice(keys), float(number), log, created)
            found += [(said, told)] * pick.choice((1, 1, 1, 2))
    return found


def disorderly(pick: Random, days: int) -> list[Change]:
    """The same with times and positions that are anything, in hours that are their own or anybody's."""
    found: list[Change] = []
    for hour, told in orderly(pick, days, truncations=True):
        said = FIRST + days * DAY * pick.random()
        source = {**told["source"], "lsn": pick.randrange(10**6)}
        landing = pick.choice((hour, said, said))
        found.append((landing, {**told, "source": source, "change_us": _micros(said)}))
    return found


def landed(root: Path, changes: Iterable[Change], days: int) -> None:
    """Land changes in the lake at ``root``, and close every hour of ``days``."""
    by_hour: dict[datetime, list[str]] = {hour: [] for hour in timestamps.hours(FIRST, FIRST + days * DAY)}
    for hour, envelope in changes:
        by_hour[floor_hour(hour)].append(json.dumps(envelope) + "\n")
    for hour, lines in by_hour.items():
        folder = root / lake.RAW_CDC("ads").hour(hour)
        folder.mkdir(parents=True)
        files = (DataFile(name="part-0.jsonl", rows=len(lines)),) if lines else ()
        if lines:
            (folder / "part-0.jsonl").write_text("".join(lines))
        manifest = CdcManifest(table="ads", hour=hour, watermark=hour + HOUR, files=files, changes=len(lines))
        (folder / lake.MANIFEST).write_text(manifest.model_dump_json())


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
