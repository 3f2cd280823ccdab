"""How a feature row lies in the online stores: one packed value per entity and group.

``<fingerprint: 8 bytes><as-of hour: int64 seconds, big endian><float32 little endian x features>``; the same bytes in
Redis (string key) and in DynamoDB (binary attribute). Newer ``as_of`` wins.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from adrank.contracts.registry import FeatureGroup

HEADER: Final = struct.Struct(">8sq")

#: Where each store keeps the state of its pushes (:mod:`adrank.online.push_state`): no row has such a key.
REDIS_STATE_KEY: Final = "push:state"
DYNAMODB_STATE_KEY: Final = "#push-state"


class OnlineRow(NamedTuple):
    """An unpacked row: the hour end that it describes, and its values in packing order (NaN is missing)."""

    as_of: datetime
    values: tuple[float, ...]


class FingerprintMismatchError(RuntimeError):
    """An online row was packed against another feature layout."""


def redis_key(group: FeatureGroup, entity_id: str) -> str:
    """``f:<group>:<entity id>``."""
    return f"f:{group.name}:{entity_id}"


def dynamodb_key(group: FeatureGroup, entity_id: str) -> str:
    """``<group>#<entity id>``, the value of the table's partition key ``entity_id``."""
    return f"{group.name}#{entity_id}"


def pack(group: FeatureGroup, as_of: datetime, values: Sequence[float]) -> bytes:
    """Pack one row; ``values`` in the group's order."""
    if len(values) != len(group.features):
        raise ValueError(f"group {group.name} packs {len(group.features)} values, got {len(values)}")
    header = HEADER.pack(bytes.fromhex(group.fingerprint)[:8], int(as_of.timestamp()))
    return header + struct.pack(f"<{len(values)}f", *values)


def unpack(group: FeatureGroup, packed: bytes) -> OnlineRow:
    """Unpack one row, refusing one that was packed against another layout."""
    fingerprint, seconds = HEADER.unpack_from(packed)
    if fingerprint != bytes.fromhex(group.fingerprint)[:8]:
        raise FingerprintMismatchError(
            f"online row of group {group.name} was packed with layout {fingerprint.hex()}, "
            f"expected {group.fingerprint[:16]} ({', '.join(group.names)})"
        )
    values = struct.unpack_from(f"<{len(group.features)}f", packed, HEADER.size)
    return OnlineRow(datetime.fromtimestamp(seconds, UTC), values)
