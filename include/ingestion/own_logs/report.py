"""What came in with a user's own logs, in numbers."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts import timestamps
from adrank.contracts.base import FrozenModel
from ingestion.own_logs.importer import ImportedLogs


class ImportReport(FrozenModel):
    """What came in. ``rows`` landed; ``rejected`` counts rows kept apart by reason; ``duplicates`` were dropped."""

    events_file: str
    rows: int
    event_types: dict[str, int]
    searches: int
    users: int
    hours: int
    first_time: datetime
    last_time: datetime
    duplicates: int
    rejected: dict[str, int]
    late_outcomes: int
    context_features: tuple[str, ...]
    ignored_columns: dict[str, str]
    ads: int
    sellers: int
    replaced_entities: int
    billing_rows: int
    billed_events: int
    billing_unmatched: int


def build(logs: ImportedLogs, maturity: timedelta) -> ImportReport:
    """Counts of what :func:`ingestion.own_logs.importer.read` returned.

    ``late_outcomes`` came later after their impression than ``maturity``.
    """
    events = logs.events.accepted
    entities = [found for found in (logs.ads, logs.sellers) if found]
    return ImportReport(
        events_file=logs.events.file.name,
        rows=events.num_rows,
        event_types=dict(sorted(Counter(events["event_type"].to_pylist()).items())),
        searches=pc.count_distinct(events["search_id"]).as_py(),
        users=pc.count_distinct(events["user_id"]).as_py(),
        hours=sum(1 for _ in timestamps.hours(logs.first_time, logs.last_time + timedelta(microseconds=1))),
        first_time=logs.first_time,
        last_time=logs.last_time,
        duplicates=logs.events.duplicates,
        rejected=dict(sorted(Counter(logs.events.rejected["reason"].to_pylist()).items())),
        late_outcomes=_late_outcomes(events, maturity),
        context_features=logs.events.context_features,
        ignored_columns=logs.events.ignored_columns,
        ads=len(logs.ads.rows) if logs.ads else 0,
        sellers=len(logs.sellers.rows) if logs.sellers else 0,
        replaced_entities=sum(found.replaced for found in entities),
        billing_rows=logs.billing.table.num_rows if logs.billing else 0,
        billed_events=logs.billed_events,
        billing_unmatched=logs.billing_unmatched,
    )


def _late_outcomes(events: pa.Table, maturity: timedelta) -> int:
    keys = ["search_id", "ad_id"]
    shown = events.filter(pc.equal(events["event_type"], "impression")).select([*keys, "event_time"])
    first = shown.group_by(keys).aggregate([("event_time", "min")])
    outcomes = events.filter(pc.not_equal(events["event_type"], "impression")).select([*keys, "event_time"])
    joined = outcomes.join(first, keys=keys)
    waited = pc.subtract(joined["event_time"], joined["event_time_min"])
    return int(pc.sum(pc.greater(waited, pa.scalar(maturity))).as_py() or 0)
