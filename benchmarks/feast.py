"""Installs Feast in an environment of its own, and what the comparisons with it share: rows and child processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adrank.contracts import timestamps
from adrank.contracts.registry import Feature, FeatureGroup

PINNED: Final = "feast[redis]==0.67.0"
FEATURES: Final = 20
HOUR: Final = datetime(2026, 3, 2, 11, tzinfo=UTC)
GROUP: Final = FeatureGroup(
    name="bench",
    entity="ad",
    inputs=("ads",),
    store="redis",
    cadence_minutes=60,
    lag_minutes=10,
    ttl_hours=72,
    owner="bench",
    description="Twenty numbers.",
    features=tuple(
        Feature(name=f"feature_{n:02d}", default=None, range=(0, 1), description="A number.") for n in range(FEATURES)
    ),
)
_ENVIRONMENT: Final = Path("build/bench/peers/feast")
_PROGRAM: Final = Path(__file__).parent / "peers" / "feast_store.py"


def install() -> Path:
    """Feast's Python, installed on first use."""
    python = _ENVIRONMENT / "bin" / "python"
    stamp = _ENVIRONMENT / "installed"
    if not stamp.exists() or stamp.read_text() != PINNED:
        uv = Path(sys.executable).parent / "uv"
        print(f"installing {PINNED} into {_ENVIRONMENT}", flush=True)
        for words in (
            ["venv", "--quiet", "--clear", "--python", sys.executable, _ENVIRONMENT],
            ["pip", "install", "--quiet", "--python", python, PINNED],
        ):
            subprocess.run([uv, *words], check=True)  # noqa: S603
        stamp.write_text(PINNED)
    return python


def write_rows(path: Path, count: int) -> None:
    """``count`` rows of one hour, seeded, in one file, as a feature partition has them."""
    dice = np.random.default_rng(7)
    end, stamp = HOUR + timestamps.HOUR, pa.timestamp("us", tz="UTC")
    columns = {
        "entity_id": pa.array([f"ad-{n:07d}" for n in range(count)], pa.string()),
        "feature_time": pa.array(np.full(count, int(end.timestamp() * 1e6)), pa.int64()).cast(stamp),
        "available_at": pa.array(np.full(count, int((end + timedelta(minutes=10)).timestamp() * 1e6)), pa.int64()).cast(
            stamp
        ),
        **{name: pa.array(dice.random(count, dtype=np.float32)) for name in GROUP.names},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def feast(what: str, directory: Path, port: int, *more: int) -> Any:
    """What one run of Feast's side tells."""
    words = [install(), _PROGRAM, what, directory, port, ",".join(GROUP.names), *more]
    return run([str(word) for word in words], {"FEAST_USAGE": "False", "PYTHONPATH": ""})


def run(command: list[str], environment: dict[str, str] | None = None) -> Any:
    """The JSON document that a program prints as its last line."""
    settings = {**os.environ, **(environment or {})}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=settings, check=True)  # noqa: S603
    return json.loads(done.stdout.strip().splitlines()[-1])


def peak_memory() -> int:
    """The most memory that this process had, in bytes. A child's ``ru_maxrss`` may be its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
