"""Writes feature rows to the online stores: newer wins, writing twice changes nothing, a refusing store is waited for.

Rows are written where they are: an address is small and picklable, and every process that has rows opens its own
writer with it, which imports no more than that store's client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

from adrank.contracts.registry import FeatureGroup
from adrank.online.push_state import FencingToken, StoreState
from adrank.runtime.retry import RetryUntil


class OnlineWriter(Protocol):
    """One online store."""

    def state(self) -> StoreState | None:
        """What the store says of its rows; None: nothing."""
        ...

    def require_no_eviction(self) -> None:
        """Refuse a store that may drop rows before they expire, with its own error."""
        ...

    def instance(self) -> str:
        """Names the server process, where rows could be lost with it."""
        ...

    def swap(self, old: StoreState | None, new: StoreState) -> bool:
        """Replace the state, if it still is ``old`` and the server is ``new``'s."""
        ...

    def write(self, fencing_token: FencingToken, group: FeatureGroup, as_of: datetime, rows: Any) -> int:
        """Write an Arrow batch (``entity_id`` and the group's features); returns how many rows did not lose.

        Raises ``PushFencedError`` or ``StateLostError`` where the token is not valid any more, and
        ``RetriesExhaustedError`` at the deadline.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class StoreAddress(Protocol):
    """Where a store is. ``parallel`` says that many processes write to it faster than one."""

    parallel: ClassVar[bool]

    def open(self, retry: RetryUntil) -> OnlineWriter:
        """A writer of this process."""
        ...


@dataclass(frozen=True)
class RedisAddress:
    """One Redis."""

    host: str
    port: int
    tls: bool = False
    parallel: ClassVar[bool] = False

    def open(self, retry: RetryUntil) -> OnlineWriter:
        """A writer of this process."""
        from adrank.online.redis_writer import RedisWriter

        return RedisWriter.connect(self.host, self.port, self.tls, retry)


@dataclass(frozen=True)
class DynamoDBAddress:
    """One table."""

    table: str
    region: str
    parallel: ClassVar[bool] = True

    def open(self, retry: RetryUntil) -> OnlineWriter:
        """A writer of this process."""
        from adrank.online.dynamodb_writer import DynamoDBWriter

        return DynamoDBWriter.connect(self.table, self.region, retry)
