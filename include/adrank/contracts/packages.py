"""The model package: what is trained, approved, digest-checked and served.

A directory (and the ``model.tar.gz`` of it) that holds

- ``package.json``: :class:`PackageCard`: what ranks, which features in which order, what it was trained on;
- ``model.txt``: the LightGBM model as text (absent for the fixed-slot ranker);
- ``golden.json``: :class:`GoldenRequests`: vectors and the scores that any honest server must return for them;
- ``metrics.json``: offline metrics on the by-time test fold.

No run id and no clock enters it, so the same inputs give the same digest whoever packs the tar.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Final, Literal

from adrank.contracts.base import FrozenModel

CARD: Final = "package.json"
MODEL: Final = "model.txt"
GOLDEN: Final = "golden.json"
METRICS: Final = "metrics.json"
#: Tags of a package's run and registered version: its digest, and where its archive lies.
DIGEST_TAG: Final = "package_digest"
DATA_TAG: Final = "model_data_url"


class PackageDigestError(RuntimeError):
    """The package's content is not the content that was asked for."""


class PackageCard(FrozenModel):
    """What a package is. ``features`` are registry features, then ``context.<key>`` features, in vector order."""

    ranker: Literal["lambdarank", "fixed_slots"]
    features: tuple[str, ...]
    fingerprint: str
    training_set_digest: str = ""
    best_iteration: int = 0


class GoldenRequests(FrozenModel):
    """Feature vectors (rows x features; null is missing) and the scores expected for them."""

    vectors: tuple[tuple[float | None, ...], ...]
    scores: tuple[float, ...]


def package_digest(directory: Path) -> str:
    """SHA-256 over the sorted (relative path, file digest) pairs of a package directory."""
    total = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def require_digest(directory: Path, expected: str) -> None:
    """Refuse a package whose content is not ``expected``."""
    actual = package_digest(directory)
    if actual != expected:
        raise PackageDigestError(f"model package at {directory} has digest {actual}, expected {expected}")


def pack(directory: Path, archive: Path) -> None:
    """Write ``model.tar.gz`` of a package directory."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            tar.add(path, arcname=path.relative_to(directory).as_posix())


def unpack(archive: Path, directory: Path) -> None:
    """Unpack ``model.tar.gz``; members that would leave ``directory`` are refused."""
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(directory, filter="data")
