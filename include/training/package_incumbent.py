"""Writes the package of the incumbent, the fixed-slot ranker, so that it is registered and served like any model.

``python -m training.package_incumbent --out DIR [--archive model.tar.gz]``
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from adrank.contracts import packages, registry
from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.ranking.ranker import SLOT_FEATURE
from training.model import package


class PackageIncumbent(EntryPointArguments):
    """Write the fixed-slot ranker's package."""

    program = "training.package_incumbent"

    out: Path = Field(description="package directory")
    archive: Path | None = Field(default=None, description="also write this model.tar.gz")


def package_incumbent(directory: Path) -> str:
    """Write the fixed-slot package to ``directory`` and return its digest, the same for the same registry."""
    card = packages.PackageCard(ranker="fixed_slots", features=(SLOT_FEATURE,), fingerprint=registry.load().fingerprint)
    golden = np.array([[1], [2], [3], [10], [np.nan]], dtype=np.float32)
    return package.write(directory, card, golden, metrics={})


def main() -> None:
    """Write the package and print its digest."""
    args = PackageIncumbent.parse()
    print(package_incumbent(args.out))
    if args.archive:
        packages.pack(args.out, args.archive)


if __name__ == "__main__":
    main()
