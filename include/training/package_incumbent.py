"""Writes the package of the incumbent, the fixed-slot ranker, so that it is registered and served like any model.

``python -m training.package_incumbent --out DIR [--archive model.tar.gz]``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from adrank.contracts import packages, registry
from adrank.ranking.ranker import SLOT_FEATURE
from training.model import package


def package_incumbent(directory: Path) -> str:
    """Write the fixed-slot package to ``directory`` and return its digest, the same for the same registry."""
    card = packages.PackageCard(ranker="fixed_slots", features=(SLOT_FEATURE,), fingerprint=registry.load().fingerprint)
    golden = np.array([[1], [2], [3], [10], [np.nan]], dtype=np.float32)
    return package.write(directory, card, golden, metrics={})


def main() -> None:
    """Write the package and print its digest."""
    parser = argparse.ArgumentParser(description="Write the fixed-slot ranker's package.")
    parser.add_argument("--out", type=Path, required=True, help="package directory")
    parser.add_argument("--archive", type=Path, help="also write this model.tar.gz")
    options = parser.parse_args()
    print(package_incumbent(options.out))
    if options.archive:
        packages.pack(options.out, options.archive)


if __name__ == "__main__":
    main()
