"""What the contracts' models and digests have in common."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """An immutable model that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def sha256_json(value: object, *, sort_keys: bool = False) -> str:
    """SHA-256 (hex) of a value as JSON without spaces; unless keys are sorted, mappings count in their own order."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys, separators=(",", ":")).encode()).hexdigest()
