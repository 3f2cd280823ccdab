"""Tell Prometheus which billing exports wait for a person: ``python -m ingestion.billing.exporter [--bucket B]``.

The job that lands an export is gone before anybody could scrape it, so its counters are read from what it left in the
lake, every ``billing.metrics_interval``: what is in quarantine, and of how many days the inbox holds another delivery
than the last verdict was about, such as a correction of a night that has landed, at which no run looks by itself.
While the lake does not answer, the last figures stay and ``adrank_billing_read_seconds`` says how old they are. Runs
until SIGTERM or SIGINT.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from pydantic import ValidationError

from adrank.contracts import lake
from adrank.contracts import metrics as metric_names
from adrank.contracts.entry_points.command_line import LakeArguments
from adrank.contracts.manifests import BillingVerdict
from adrank.contracts.settings import load
from adrank.contracts.timestamps import DAY
from adrank.runtime.service import MetricsPortError, log_to_stderr, serve_metrics, stop_on_signals
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.billing.export import CONTROL, EXPORT

_log = logging.getLogger("ingestion.billing.exporter")
#: Deliveries are looked for in this many days up to the newest that landed, and in all days after it.
INBOX_DAYS: Final = 14


class BillingMetrics:
    """What the lake says of billing, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._exports = Gauge(
            metric_names.BILLING_QUARANTINED_EXPORTS, "Distinct exports that were refused", registry=self.registry
        )
        self._days = Gauge(
            metric_names.BILLING_QUARANTINED_DAYS, "Days that wait for a corrected export", registry=self.registry
        )
        self._unsettled = Gauge(
            metric_names.BILLING_UNSETTLED_DAYS,
            "Recent days whose delivery in the inbox is not what the last verdict was about",
            registry=self.registry,
        )
        self._last_day = Gauge(
            metric_names.BILLING_LAST_DAY, "Start of the newest day that landed; 0: none", registry=self.registry
        )
        self._read = Gauge(metric_names.BILLING_READ, "When the lake last answered; 0: not yet", registry=self.registry)
        self._digests: dict[str, tuple[str, str]] = {}

    def read(self, store: ObjectStore) -> None:
        """Ask the lake; a lake that does not answer, or holds what nobody can read, leaves the figures as they are."""
        try:
            refused = store.folders(lake.BILLING_QUARANTINE.prefix)
            exports = sum(len(store.folders(day)) for day in refused)
            waiting = sum(_waits(store, lake.day_of(prefix)) for prefix in refused)
            landed = store.folders(lake.RAW_BILLING.prefix)
            unsettled = self._count_unsettled(store, landed)
        except (ObjectStoreError, ValidationError) as error:
            _log.error("billing was not read: %s", error)
            return
        self._exports.set(exports)
        self._days.set(waiting)
        self._unsettled.set(unsettled)
        self._last_day.set(lake.day_of(landed[-1]).timestamp() if landed else 0)
        self._read.set(time.time())

    def _count_unsettled(self, store: ObjectStore, landed: list[str]) -> int:
        inbox = _days(store.folders(lake.BILLING_INBOX.prefix))
        newest = max(_days(landed) or inbox, default=None)
        return sum(self._is_unsettled(store, day) for day in inbox if newest and newest - day < INBOX_DAYS * DAY)

    def _is_unsettled(self, store: ObjectStore, day: datetime) -> bool:
        inbox = lake.BILLING_INBOX.day(day)
        etags = store.etags(inbox)
        files = [name for name in (EXPORT, CONTROL) if inbox + name in etags]
        verdict = _verdict(store, day)
        if verdict is None or not files:
            return bool(files)
        return verdict.delivered != {name: self._digest(store, inbox + name, etags[inbox + name]) for name in files}

    def _digest(self, store: ObjectStore, key: str, etag: str) -> str:
        """SHA-256 of an object, which is read only when it is another version than the last time."""
        cached = self._digests.get(key)
        if cached is None or cached[0] != etag:
            cached = self._digests[key] = (etag, hashlib.sha256(store.get(key)).hexdigest())
        return cached[1]


def _waits(store: ObjectStore, day: datetime) -> bool:
    """Whether the newest delivery of a day was refused; a verdict that never came about does not say otherwise."""
    verdict = _verdict(store, day)
    return verdict is None or verdict.outcome == "quarantined"


def _verdict(store: ObjectStore, day: datetime) -> BillingVerdict | None:
    content = store.find(lake.BILLING_VERDICT.key(day))
    return None if content is None else BillingVerdict.model_validate_json(content)


def _days(prefixes: Iterable[str]) -> list[datetime]:
    """The days among prefixes; the inbox is not ours, and may hold what is none."""
    days = []
    for prefix in prefixes:
        with contextlib.suppress(ValueError):
            days.append(lake.day_of(prefix))
    return days


class ExporterArguments(LakeArguments):
    """Tell Prometheus which billing exports wait for a person."""

    program = "ingestion.billing.exporter"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = ExporterArguments.parse(arguments)
    settings = load()
    log_to_stderr()
    metrics = BillingMetrics()
    try:
        serve_metrics(settings.billing.metrics_host, settings.billing.metrics_port, metrics.registry)
    except MetricsPortError as error:
        _log.error("%s", error)
        return 1
    store = ObjectStore.connect(args.bucket, region=settings.region)
    with stop_on_signals() as stop:
        while not stop.is_set():
            metrics.read(store)
            stop.wait(settings.billing.metrics_interval.total_seconds())
    return 0


if __name__ == "__main__":
    sys.exit(main())
