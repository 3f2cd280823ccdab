"""A stack of its own for a test: its own home, its own free ports."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.settings import PORT_LABELS, StackSettings
from tests.support.ports import free_ports


@pytest.fixture
def stack() -> Iterator[StackSettings]:
    """Settings only; nothing is started."""
    home = Path(tempfile.mkdtemp(prefix="adrank-stack-"))
    # So that the system user of PostgreSQL can pass.
    home.chmod(0o755)
    ports = dict(zip(PORT_LABELS, free_ports(len(PORT_LABELS)), strict=True))
    yield StackSettings.model_validate({"home": home, "ports": ports})
    shutil.rmtree(home, ignore_errors=True)
