"""What the measurements share: their sizes on the command line; for each comparison a line, and an entry in a file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final, NamedTuple

RESULTS: Final = Path("build/bench/results.json")


class Size(NamedTuple):
    """How much is measured: by default, so that all measurements end in half an hour on two cores; and in full."""

    default: int
    full: int


def parse_sizes(description: str, **sizes: Size | int) -> argparse.Namespace:
    """The command line of a measurement: ``--full``, and a flag by each name; a number is the same size either way."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--full", action="store_true", help="take the full size of whatever is not given")
    for name, declared in sizes.items():
        size = declared if isinstance(declared, Size) else Size(declared, declared)
        flag = f"--{name.replace('_', '-')}"
        default = size.full if "--full" in sys.argv else size.default
        parser.add_argument(
            flag, type=int, metavar="N", default=default, help=f"{size.default:,}, in full {size.full:,}"
        )
    return parser.parse_args()


def record(name: str, ours: float, peer: float, peer_name: str, unit: str, path: Path = RESULTS) -> float:
    """Print the comparison, append it to the results, and return the ratio ours / peer."""
    ratio = ours / peer
    print(f"{name}: {ours:,.0f} {unit}, {peer_name} {peer:,.0f} {unit}: ratio {ratio:.3g}", flush=True)
    entry = {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit, "ratio": ratio}
    entries = json.loads(path.read_text()) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*entries, entry], indent=2) + "\n")
    return ratio
