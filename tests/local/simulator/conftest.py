"""A small world."""

from __future__ import annotations

import pytest

from simulator.marketplace.world import World
from tests.local.simulator.small_world import small_settings


@pytest.fixture(scope="session")
def small_world() -> World:
    """Two days of history of a couple of hundred ads."""
    return World(small_settings())
