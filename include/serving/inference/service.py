"""Ranks candidates with one digest-checked model package. Knows nothing of HTTP."""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock
from typing import Any, Final, get_args

import numpy as np

from adrank.contracts.entry_points.serving import ServedRowsEnvironment, ServingEnvironment, StoresEnvironment
from adrank.contracts.registry import Entity, Registry, user_category
from adrank.online.reader import FetchResult, OnlineReader
from adrank.online.vectors import VectorLayout
from adrank.ranking.ranker import Ranker, load_package
from serving.inference.requests import GoldenRequest, InvalidRequestError, ProbeRequest, RankRequest, Request
from serving.inference.served_rows import ServedRequest, ServedRowsLog
from serving.inference.stores import open_reader, open_served_log

_LOG: Final = logging.getLogger(__name__)

#: Candidates of the first, discarded ranking that opens connections and faults the model in.
_WARM_ROWS: Final = 25

Answer = dict[str, Any]


class RankingService:
    """Thread-safe. ``reader`` may be absent only for a model without stored features."""

    def __init__(
        self, registry: Registry, ranker: Ranker, reader: OnlineReader | None, served: ServedRowsLog | None = None
    ) -> None:
        self._registry = registry
        self._ranker = ranker
        self._layout = VectorLayout.of(registry, ranker.features)
        if self._layout.groups and reader is None:
            raise ValueError(f"the model needs {', '.join(g.name for g in self._layout.groups)} but there is no reader")
        self._reader = reader
        self._served = served
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def answer(self, request: Request) -> Answer:
        """The JSON body that answers ``request``."""
        match request:
            case RankRequest():
                return self._rank(request)
            case GoldenRequest():
                return self._golden(request)
            case ProbeRequest():
                return self._probe()

    def warm(self) -> None:
        """Rank once so that the first user does not pay for cold connections."""
        names: list[str | None] = [f"warm-{n}" for n in range(_WARM_ROWS)]
        if self._reader is not None:
            self._reader.fetch(self._layout.groups, dict.fromkeys(get_args(Entity), names))
        self._ranker.score(np.zeros((_WARM_ROWS, len(self._layout.features)), dtype=np.float32))

    def count(self, what: str) -> None:
        """Add one to a running total that the probe shows."""
        with self._lock:
            self._counts[what] += 1

    def close(self) -> None:
        """Write what was logged of the rows served."""
        if self._served is not None:
            self._served.close()

    def _rank(self, request: RankRequest) -> Answer:
        candidates = request.candidates
        ids: dict[Entity, list[str | None]] = {
            "ad": [c.ad_id for c in candidates],
            "seller": [c.seller_id for c in candidates],
            "user_category": [user_category(request.user_id, c.category) for c in candidates],
        }
        fetched = FetchResult({}, ())
        if self._reader is not None:
            fetched = self._reader.fetch(self._layout.groups, ids, request.event_time)
        rows = fetched.rows
        vectors = self._layout.assemble(rows, [c.context for c in candidates])
        scores = self._ranker.score(vectors)
        best_first = np.argsort(-scores, kind="stable").tolist()
        values = scores.tolist()
        self.count("rank")
        if self._served is not None and request.event_time is not None:
            self._served.offer(request.search_id, ServedRequest(request.event_time, ids, fetched, vectors))
        return {
            "ranking": [{"ad_id": candidates[n].ad_id, "score": values[n]} for n in best_first],
            "package_digest": self._ranker.digest,
            "model_version": self._ranker.digest[:12],
            "missing": {name: int(group.missing.sum()) for name, group in rows.items()},
            "stale": {name: int(group.stale.sum()) for name, group in rows.items()},
            "outages": list(fetched.outages),
        }

    def _golden(self, request: GoldenRequest) -> Answer:
        width = len(self._ranker.features)
        for number, vector in enumerate(request.vectors):
            if len(vector) != width:
                raise InvalidRequestError(f"vectors[{number}]: the model takes {width} features, got {len(vector)}")
        scores = self._ranker.score(np.array(request.vectors, dtype=np.float32))
        self.count("golden")
        return {"scores": scores.tolist(), "package_digest": self._ranker.digest}

    def _probe(self) -> Answer:
        stored = self._reader.counters() if self._reader is not None else {}
        logged = self._served.counters() if self._served is not None else {}
        with self._lock:
            counters = dict(self._counts) | stored | logged
        return {
            "package_digest": self._ranker.digest,
            "features": list(self._ranker.features),
            "fingerprint": self._registry.fingerprint,
            "counters": counters,
        }


def load_service(environment: ServingEnvironment, registry: Registry) -> RankingService:
    """Load and check the package; open the stores that it needs.

    :raises PackageDigestError: the package is not the one asked for
    :raises RegistryMismatchError: it was built against another registry
    :raises BrokenPackageError: it cannot be read
    :raises ValidationError: it needs stores that the environment does not name
    """
    ranker = load_package(environment.model_dir, environment.package_digest)
    registry.require(ranker.card.fingerprint, ranker.features, f"model package at {environment.model_dir}")
    layout = VectorLayout.of(registry, ranker.features)
    reader, served_rows = None, None
    if layout.groups:
        stores, sampled = StoresEnvironment.read(), ServedRowsEnvironment.read()
        reader = open_reader(registry, stores, environment.threads)
        served_rows = open_served_log(layout, sampled, stores.region) if sampled.share else None
    service = RankingService(registry, ranker, reader, served_rows)
    service.warm()
    _LOG.info("serving package %s with %d features", ranker.digest[:12], len(ranker.features))
    return service
