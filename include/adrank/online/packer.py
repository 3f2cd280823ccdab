"""Packs Arrow batches of feature rows into online rows, without touching a value in Python."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adrank.contracts.online_layout import HEADER
from adrank.contracts.registry import FeatureGroup


class Packer:
    """Packs rows of one group as of the end of one hour, as :func:`adrank.contracts.online_layout.pack` does.

    Batches have a column ``entity_id`` (string) and the group's features (float32, null is NaN).
    """

    def __init__(self, group: FeatureGroup, as_of: datetime) -> None:
        self._names: Sequence[str] = group.names
        self._row = np.dtype([("layout", "V8"), ("as_of", ">i8"), ("values", "<f4", (len(group.features),))])
        self._layout = np.void(bytes.fromhex(group.fingerprint)[:8])
        self._as_of = int(as_of.timestamp())
        if self._row.itemsize != HEADER.size + 4 * len(group.features):
            raise AssertionError("the packer's row differs from adrank.contracts.online_layout")

    @property
    def size(self) -> int:
        """Bytes of one packed row."""
        return self._row.itemsize

    def pack(self, rows: Any) -> bytes:
        """All rows of a batch, one after the other."""
        packed = np.empty(rows.num_rows, dtype=self._row)
        packed["layout"] = self._layout
        packed["as_of"] = self._as_of
        for place, name in enumerate(self._names):
            packed["values"][:, place] = rows.column(name).to_numpy(zero_copy_only=False)
        return packed.tobytes()


def keys(prefix: str, rows: Any) -> list[bytes]:
    """``prefix`` before each entity id, UTF-8. An entity without an id is refused."""
    entities = rows.column("entity_id")
    if entities.null_count:
        raise ValueError(f"{entities.null_count} of {rows.num_rows} rows of {prefix} have no entity id")
    joined: list[bytes] = pc.binary_join_element_wise(prefix.encode(), entities.cast(pa.binary()), b"").to_pylist()
    return joined
