"""One line and one entry for each comparison: ours, the peer's, and their ratio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

RESULTS: Final = Path("build/bench/results.json")


def record(name: str, ours: float, peer: float, peer_name: str, unit: str, path: Path = RESULTS) -> float:
    """Print the comparison, append it to the results, and return the ratio ours / peer."""
    ratio = ours / peer
    print(f"{name}: {ours:,.0f} {unit}, {peer_name} {peer:,.0f} {unit}: ratio {ratio:.2f}")
    entry = {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit, "ratio": ratio}
    entries = json.loads(path.read_text()) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*entries, entry], indent=2) + "\n")
    return ratio
