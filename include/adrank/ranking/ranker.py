"""Loads a model package and scores feature vectors: the one scorer of training, evaluation and serving.

The incumbent (fixed slots) and a learned model answer the same call, so nothing downstream asks which one it holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from adrank.contracts import packages, registry
from adrank.contracts.events import SLOT_KEY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTEXT_PREFIX: Final = "context."
SLOT_FEATURE: Final = f"{CONTEXT_PREFIX}{SLOT_KEY}"

#: Score of a candidate without a slot: below any real slot, and finite so that it survives JSON.
_NO_SLOT: Final = -1.0e9


class BrokenPackageError(RuntimeError):
    """A package directory that cannot be served: a file is missing, unreadable or disagrees with another."""


class Ranker:
    """A loaded package. ``digest`` is recomputed from the files that were loaded."""

    def __init__(self, card: packages.PackageCard, digest: str, booster: Any | None) -> None:
        self.card = card
        self.digest = digest
        self._booster = booster

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the vector's columns, in order."""
        return self.card.features

    def score(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores, higher is better: ``[n, features]`` float32 (NaN is missing) to ``[n]`` float64."""
        import numpy as np

        if vectors.ndim != 2 or vectors.shape[1] != len(self.features):
            raise ValueError(f"expected vectors of shape [n, {len(self.features)}], got {list(vectors.shape)}")
        if not len(vectors):
            return np.empty(0, dtype=np.float64)
        if self._booster is None:
            slots = vectors[:, self.features.index(SLOT_FEATURE)].astype(np.float64)
            return np.where(np.isnan(slots), _NO_SLOT, -slots)
        # One thread: a request has about a hundred rows, and LightGBM's thread pool costs more than it gives there.
        return np.asarray(self._booster.predict(vectors, num_threads=1), dtype=np.float64)


def load_package(directory: Path, expected_digest: str | None = None) -> Ranker:
    """Load an unpacked package.

    :raises PackageDigestError: the content is not ``expected_digest``
    :raises BrokenPackageError: a file is missing or broken, or the model's width is not the card's
    :raises RegistryMismatchError: it was built against another feature registry than the one installed here
    """
    if expected_digest is not None:
        packages.require_digest(directory, expected_digest)
    card = _card(directory)
    registry.load().require(card.fingerprint, card.features, f"model package at {directory}")
    booster = None
    if card.ranker == "lambdarank":
        booster = _booster(directory / packages.MODEL)
        if booster.num_feature() != len(card.features):
            raise BrokenPackageError(
                f"{directory / packages.MODEL} takes {booster.num_feature()} features, "
                f"{packages.CARD} names {len(card.features)}"
            )
    elif SLOT_FEATURE not in card.features:
        raise BrokenPackageError(f"{directory / packages.CARD}: a fixed_slots ranker needs feature {SLOT_FEATURE}")
    return Ranker(card, packages.package_digest(directory), booster)


def load_golden(directory: Path) -> packages.GoldenRequests:
    """The package's golden requests."""
    path = directory / packages.GOLDEN
    try:
        return packages.GoldenRequests.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as broken:
        raise BrokenPackageError(f"{path} cannot be read: {broken}") from broken


def _card(directory: Path) -> packages.PackageCard:
    path = directory / packages.CARD
    try:
        return packages.PackageCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as broken:
        raise BrokenPackageError(f"{path} cannot be read: {broken}") from broken


def _booster(path: Path) -> Any:
    import lightgbm

    if not path.is_file():
        raise BrokenPackageError(f"{path} is missing")
    try:
        return lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as broken:
        raise BrokenPackageError(f"{path} is not a LightGBM model: {broken}") from broken
