"""A marketplace with a short history, lived through once on a stack of its own: tests look at what happened."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adrank.contracts.settings import Settings
from adrank.contracts.timestamps import floor_hour
from demo.plan import environment
from demo.runs.progress import Progress
from demo.sources import SimulatedHistory
from demo.stages import Demo, Options
from simulator.marketplace.settings import documented_world
from stack import lifecycle
from stack.settings import PORT_LABELS, StackSettings
from tests.e2e.lived import Lived
from tests.support.ports import free_ports

#: A third of a day of event time is enough where the true lift is this large.
_SHORT = {
    "ADRANK_EXPERIMENT__DURATION": "PT8H",
    "ADRANK_EXPERIMENT__LOOK_INTERVAL": "PT4H",
    "ADRANK_EXPERIMENT__MAX_DURATION": "PT32H",
    "ADRANK_ROLLOUT__STEP_PERCENT": "25",
    "ADRANK_ROLLOUT__STEP_WAIT": "PT6S",
}


@pytest.fixture(scope="package")
def lived() -> Iterator[Lived]:
    before = dict(os.environ)
    home = Path(tempfile.mkdtemp(prefix="adrank-e2e-"))
    home.chmod(0o755)
    now = datetime.now(UTC)
    source = SimulatedHistory(documented_world(7, floor_hour(now), history_days=4))
    stack = StackSettings.model_validate(
        {
            "home": home / "stack",
            "ports": dict(zip(PORT_LABELS, free_ports(len(PORT_LABELS)), strict=True)),
            "extra_environment": environment(source.plan(), now) | _SHORT,
        }
    )
    demo = Demo(Options(home=home, stack=stack, ask=False), source, Progress())
    try:
        try:
            demo.run()
            seen = Lived(stack, demo.record(), Settings())
        finally:
            # The demo makes its own process one of the stack's; the tests' must not stay one.
            os.environ.clear()
            os.environ.update(before)
        yield seen
    finally:
        lifecycle.stop(stack)
        lifecycle.discard(stack)
        shutil.rmtree(home, ignore_errors=True)
