"""A stack of its own for a test: its own home, its own free ports."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.settings import HOST, PORT_LABELS, StackSettings


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


@pytest.fixture
def stack() -> Iterator[StackSettings]:
    """Settings only; nothing is started."""
    home = Path(tempfile.mkdtemp(prefix="adrank-stack-"))
    # So that the system user of PostgreSQL can pass.
    home.chmod(0o755)
    ports = dict(zip(PORT_LABELS, free_ports(len(PORT_LABELS)), strict=True))
    yield StackSettings.model_validate({"home": home, "ports": ports})
    shutil.rmtree(home, ignore_errors=True)
