"""What the traffic has done so far, in a JSON file that is replaced whole, so that a reader never sees half of it.

Fields: ``state`` (starting, running, stopped, finished, failed), ``error``, ``source``, ``seed``, ``start``,
``event_now``, ``last_hour_told``, ``hours_told``, ``rows_told``, ``requests`` (answered or failed),
``failed_requests``, ``failures`` (message -> count), ``by_variant`` and ``by_model_version`` (requests so far, and
clicks, contacts, sales, revenue of told hours; a request outside an experiment has variant ``none``), ``latency_ms``,
``clock`` (:class:`simulator.traffic.clock.ClockReading` of this process's event clock; null before that starts), and
``log``: one entry per wall-clock second with requests, ``{"t": epoch second, "served": {model_version: count},
"failed": count}``, for the last two hours.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from simulator.marketplace.event_rows import Exposure
from simulator.traffic.clock import ClockReading

_LOG_SECONDS: Final = 7200
_LATENCIES: Final = 100_000
_ANSWERS: Final = {"click": "clicks", "contact": "contacts", "sale": "sales"}


class Progress:
    """Counters that request threads and the live loop share."""

    def __init__(self, path: Path, *, source: str, seed: int, start: datetime) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._document: dict[str, Any] = {
            "state": "starting",
            "error": "",
            "source": source,
            "seed": seed,
            "start": start.isoformat(),
            "event_now": start.isoformat(),
            "last_hour_told": None,
            "hours_told": 0,
            "rows_told": 0,
            "requests": 0,
            "failed_requests": 0,
            "failures": {},
            "by_variant": {},
            "by_model_version": {},
        }
        self._log: deque[dict[str, Any]] = deque(maxlen=_LOG_SECONDS)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._clock: Callable[[], ClockReading] | None = None

    def watch_clock(self, reading: Callable[[], ClockReading]) -> None:
        """Ask the event clock how it runs whenever the file is written."""
        self._clock = reading

    def record_served(self, exposure: Exposure, seconds: float) -> None:
        """Count an answered request."""
        with self._lock:
            self._document["requests"] += 1
            for names, name in self._groups(exposure):
                self._of(names, name)["requests"] += 1
            self._latencies.append(seconds)
            second = self._second()
            second["served"][exposure.model_version] = second["served"].get(exposure.model_version, 0) + 1

    def record_failure(self, reason: str) -> None:
        """Count a request that got no usable ranking."""
        with self._lock:
            self._document["requests"] += 1
            self._document["failed_requests"] += 1
            failures = self._document["failures"]
            failures[reason] = failures.get(reason, 0) + 1
            self._second()["failed"] += 1

    def record_hour(self, hour: datetime, table: pa.Table) -> None:
        """Count an hour that the sink has taken, and the answers in it; repeated deliveries count once."""
        rows = {row["event_id"]: row for row in table.drop_columns(["context"]).to_pylist()}
        with self._lock:
            self._document["last_hour_told"] = hour.isoformat()
            self._document["hours_told"] += 1
            self._document["rows_told"] += table.num_rows
            for row in rows.values():
                if (answer := _ANSWERS.get(row["event_type"])) is None:
                    continue
                for names, name in self._groups(Exposure(row["model_version"], row["experiment_id"], row["variant"])):
                    self._of(names, name)[answer] += 1
                    self._of(names, name)["revenue"] += row["revenue"] or 0.0

    def now(self, micros: int) -> None:
        """Note the event clock."""
        with self._lock:
            self._document["event_now"] = datetime.fromtimestamp(micros / 1e6, UTC).isoformat()

    def state(self, name: str, error: str = "") -> None:
        """Note what the process is doing, and write."""
        with self._lock:
            self._document.update(state=name, error=error)
        self.write()

    def resume(self) -> datetime | None:
        """Take over the counters of an earlier process; returns the last hour that it told, if any."""
        if not self._path.exists():
            return None
        earlier = json.loads(self._path.read_text(encoding="utf-8"))
        for key in ("source", "seed", "start"):
            if earlier[key] != self._document[key]:
                raise ValueError(f"{self._path}: was written with {key} {earlier[key]!r}, not {self._document[key]!r}")
        with self._lock:
            self._log.extend(earlier.pop("log"))
            for derived in ("latency_ms", "clock"):
                earlier.pop(derived, None)
            self._document.update(earlier)
        last = self._document["last_hour_told"]
        return None if last is None else datetime.fromisoformat(last)

    def write(self) -> None:
        """Replace the file."""
        clock = asdict(self._clock()) if self._clock else None
        with self._lock:
            derived = {"latency_ms": self._percentiles(), "clock": clock, "log": list(self._log)}
            text = json.dumps({**self._document, **derived})
            part = self._path.with_name(f"{self._path.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(self._path)

    def _percentiles(self) -> dict[str, float]:
        if not self._latencies:
            return {}
        values = np.percentile(np.array(self._latencies) * 1000, [50, 95, 99, 100])
        return dict(zip(("p50", "p95", "p99", "max"), values.round(2).tolist(), strict=True))

    def _second(self) -> dict[str, Any]:
        now = int(time.time())
        if not self._log or self._log[-1]["t"] != now:
            self._log.append({"t": now, "served": {}, "failed": 0})
        return self._log[-1]

    def _of(self, names: str, name: str) -> dict[str, Any]:
        empty = {"requests": 0, "clicks": 0, "contacts": 0, "sales": 0, "revenue": 0.0}
        found: dict[str, Any] = self._document[names].setdefault(name, empty)
        return found

    @staticmethod
    def _groups(exposure: Exposure) -> tuple[tuple[str, str], ...]:
        return (("by_variant", exposure.variant or "none"), ("by_model_version", exposure.model_version))
