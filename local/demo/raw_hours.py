"""Waits for raw hours that the archiver and the capture close, and says what is in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from adrank.contracts import lake, timestamps
from adrank.contracts.manifests import RawManifest
from adrank.storage.object_store import ObjectStore
from stack.stall import ProgressWatch

_POLL_SECONDS: Final = 0.5


def wait_for(store: ObjectStore, keys: Sequence[str], watch: ProgressWatch) -> None:
    """Return when every key is there.

    Raises:
        StalledError: neither they nor what ``watch`` looks at moves; the message names what is missing.
    """
    while missing := [key for key in keys if next(store.keys(key), None) != key]:
        watch.note("an hour", missing)
        watch.require_progress(f"not closed: {', '.join(missing)}; see the logs of archiver and capture")
        time.sleep(_POLL_SECONDS)


def describe(store: ObjectStore, start: datetime, end: datetime) -> str:
    """Rows, files and late rows of the hours in ``[start, end)``, in words."""
    found = [store.get(lake.raw_events_manifest(hour)) for hour in timestamps.hours(start, end)]
    manifests = [RawManifest.model_validate_json(body) for body in found]
    rows, late = sum(m.rows for m in manifests), sum(m.late_rows for m in manifests)
    return f"{rows:,} rows in {sum(len(m.files) for m in manifests)} files, {late:,} of them late"
