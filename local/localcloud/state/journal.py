"""Keeps what must survive a restart of the control plane: one JSON document, replaced after every change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.state import documents


class Journal:
    """Writes what ``capture`` returns; nothing before :meth:`open`, so that a restore is never half saved."""

    def __init__(self, path: Path, capture: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._capture = capture
        self._lock = threading.Lock()
        self._open = False

    def read(self) -> dict[str, Any]:
        """The document of the last run; empty at the first."""
        return documents.load(self._path)

    def open(self) -> None:
        """From now on every change is kept."""
        self._open = True
        self.changed()

    def close(self) -> None:
        """From now on nothing is kept: what happens while the program ends is no news."""
        with self._lock:
            self._open = False

    def changed(self) -> None:
        """Write the present state."""
        with self._lock:
            if not self._open:
                return
            documents.dump(self._path, self._capture())
