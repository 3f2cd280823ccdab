"""One watched process of the stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Program:
    """What the supervisor starts.

    ``stops_alone``: only the process itself is told to stop, because it ends its own children in order.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "TERM"
    stops_alone: bool = False
