"""Small JSON documents on disk, replaced whole so that a reader or a crash never sees half of one."""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, Final

_TIME: Final = "$time"


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    if hasattr(value, "original_dict"):
        return value.original_dict()
    raise TypeError(f"cannot keep a {type(value).__name__} in a JSON document")


def _decode(value: dict[str, Any]) -> Any:
    return datetime.fromisoformat(value[_TIME]) if value.keys() == {_TIME} else value


def dump(path: Path, document: dict[str, Any]) -> None:
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


def load(path: Path) -> dict[str, Any]:
    """The document at ``path``; empty when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    document: dict[str, Any] = json.loads(text, object_hook=_decode)
    return document
