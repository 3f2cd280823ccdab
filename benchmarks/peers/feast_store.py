"""Feast's side of a comparison, run with Feast's own Python: a file offline store and a Redis online store.

    feast_store.py materialise|fetch DIRECTORY PORT FEATURES [REQUESTS ENTITIES IDS]

Prints one JSON document. ``DIRECTORY/rows.parquet`` has ``entity_id``, ``feature_time`` and the features.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Float32

TTL = timedelta(hours=72)


def store(directory: Path, port: int) -> FeatureStore:
    """Feast as its manual sets it up; keys expire, and an older row does not replace a newer one."""
    return FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(directory / "registry.db"),
            offline_store={"type": "file"},
            online_store={
                "type": "redis",
                "connection_string": f"127.0.0.1:{port}",
                "key_ttl_seconds": int(TTL.total_seconds()),
            },
            entity_key_serialization_version=3,
        )
    )


def materialise(directory: Path, port: int, features: list[str]) -> dict[str, Any]:
    """Seconds of ``materialize``, and the most memory of the process (bytes)."""
    rows = FileSource(path=str(directory / "rows.parquet"), timestamp_field="feature_time")
    ad = Entity(name="ad", join_keys=["entity_id"], value_type=ValueType.STRING)
    schema = [Field(name=name, dtype=Float32) for name in features]
    feast = store(directory, port)
    feast.apply([ad, FeatureView(name="bench", entities=[ad], ttl=TTL, schema=schema, source=rows, online=True)])
    end = pq.read_table(directory / "rows.parquet", columns=["feature_time"])["feature_time"][0].as_py()
    began = time.perf_counter()
    feast.materialize(end - TTL, end + timedelta(hours=1))
    seconds = time.perf_counter() - began
    peak = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]
    return {"seconds": seconds, "peak": int(peak) * 1024}


def fetch(directory: Path, port: int, features: list[str], requests: int, entities: int, ids: int) -> dict[str, Any]:
    """Seconds of each ``get_online_features``; the answer's conversion to Python values is not counted."""
    feast = store(directory, port)
    names = [f"bench:{name}" for name in features]
    dice, taken = random.Random(11), []  # noqa: S311
    for number in range(requests + 50):
        rows = [{"entity_id": f"ad-{dice.randrange(ids):07d}"} for _ in range(entities)]
        began = time.perf_counter()
        answer = feast.get_online_features(features=names, entity_rows=rows)
        if number >= 50:
            taken.append(time.perf_counter() - began)
    assert None not in answer.to_dict()[features[0]]
    return {"seconds": taken}


def main() -> None:
    """Run what the command line asks for."""
    what, directory, port, features, *more = sys.argv[1:]
    names = features.split(",")
    if what == "materialise":
        print(json.dumps(materialise(Path(directory), int(port), names)))
    else:
        requests, entities, ids = map(int, more)
        print(json.dumps(fetch(Path(directory), int(port), names, requests, entities, ids)))


if __name__ == "__main__":
    main()
