"""Keeps what must survive a restart of the control plane: one JSON document, replaced after every change.

It is replaced whole, so that a reader or a crash never sees half of one.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

_TIME: Final = "$time"


class Journal:
    """Writes what ``capture`` returns; nothing before :meth:`open`, so that a restore is never half saved."""

    def __init__(self, path: Path, capture: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._capture = capture
        self._lock = threading.Lock()
        self._open = False

    def read(self) -> dict[str, Any]:
        """The document of the last run; empty at the first."""
        return read_document(self._path)

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
            write_document(self._path, self._capture())


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write ``document`` (JSON values and datetimes) to ``path`` atomically."""
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    # Not for other users: the journal keeps secrets.
    staged.touch(mode=0o600)
    with staged.open("w", encoding="utf-8") as stream:
        # Not json.dump: one call of C code sees one state of what other threads change.
        stream.write(json.dumps(document, default=_encode))
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)


def read_document(path: Path) -> dict[str, Any]:
    """The document at ``path``; empty when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    document: dict[str, Any] = json.loads(text, object_hook=_decode)
    return document


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    if hasattr(value, "original_dict"):
        return value.original_dict()
    raise TypeError(f"cannot keep a {type(value).__name__} in a JSON document")


def _decode(value: dict[str, Any]) -> Any:
    return datetime.fromisoformat(value[_TIME]) if value.keys() == {_TIME} else value
