"""Features of 100 entities for one ranking request: our reader beside Feast's ``get_online_features``.

    python -m benchmarks.online_fetch [--full] [--rows N] [--requests N] [--rounds N]

The same rows of 20 features in the same redis-server, each side as it writes them itself. Requests ask for 100 entities
drawn at random, one after the other, from a process of their own. Rounds alternate and their latencies are pooled. Ours
ends with a decoded float32 matrix; Feast's with its answer object, before that is turned into values.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from adrank.contracts.registry import Registry
from benchmarks.feast import GROUP, feast, run
from benchmarks.materialise import prepare
from benchmarks.results import parse_sizes, record
from tests.support.online_stores import RedisServer

ENTITIES = 100
WARM_UP = 50


def fetch(port: int, requests: int, ids: int) -> list[float]:
    """Seconds of each fetch."""
    from redis import Redis

    from adrank.online.reader import OnlineReader

    reader = OnlineReader(Registry(groups=(GROUP,)), Redis(port=port, socket_timeout=5), None, "none")
    dice, seconds = random.Random(11), []  # noqa: S311
    for number in range(requests + WARM_UP):
        entities = [f"ad-{dice.randrange(ids):07d}" for _ in range(ENTITIES)]
        began = time.perf_counter()
        found = reader.fetch([GROUP], {"ad": entities})
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - began)
        assert not found.outages
        assert not found.rows[GROUP.name].missing.any()
    return seconds


def compare(rows: int, requests: int, rounds: int) -> None:
    server = RedisServer()
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory(prefix="fetch-bench-") as name:
        directory = Path(name)
        try:
            file = prepare(directory, rows)
            run([sys.executable, "-m", "benchmarks.materialise", "write", str(file), str(server.port)])
            feast("materialise", directory, server.port)
            for _ in range(rounds):
                taken["theirs"] += feast("fetch", directory, server.port, requests, ENTITIES, rows)["seconds"]
                ours = [sys.executable, "-m", __spec__.name, "ours", str(server.port), str(requests), str(rows)]
                taken["ours"] += run(ours)["seconds"]
        finally:
            server.stop()
    for percent in (50, 99):
        ours_us, theirs_us = (1e6 * float(np.percentile(taken[who], percent)) for who in ("ours", "theirs"))
        name = f"online fetch of {ENTITIES} entities, p{percent}"
        record(name, ours_us, theirs_us, "Feast get_online_features", "us")


def main() -> None:
    """Compare, or be the process that fetches."""
    if sys.argv[1:2] == ["ours"]:
        port, requests, ids = map(int, sys.argv[2:])
        print(json.dumps({"seconds": fetch(port, requests, ids)}))
        return
    args = parse_sizes("Online fetch beside Feast.", rows=20_000, requests=1000, rounds=3)
    compare(args.rows, args.requests, args.rounds)


if __name__ == "__main__":
    main()
