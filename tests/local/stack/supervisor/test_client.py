"""A supervisor that somebody else has told to shut down is waited for, not asked what it no longer answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack import lifecycle, paths
from stack.settings import StackSettings
from stack.supervisor.client import SupervisorClient, _ShuttingDownError
from stack.supervisor.config import Program, render

pytestmark = pytest.mark.stack
# Ends not when it is told to, but when it is let go.
SLOW = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf, let_go = map(pathlib.Path, sys.argv[1:])
deaf.touch()
while not let_go.exists():
    time.sleep(0.05)
"""


@pytest.fixture
def shutting_down(stack: StackSettings, tmp_path: Path) -> Iterator[StackSettings]:
    """A stack of one program that does not end yet, under a supervisor that was told to shut down."""
    paths.logs(stack).mkdir(parents=True)
    (tmp_path / "slow.py").write_text(SLOW)
    words = (sys.executable, *(str(tmp_path / name) for name in ("slow.py", "deaf", "let-go")))
    program = Program("slow", words)
    paths.supervisor_config(stack).write_text(render(stack, [program]))
    client = SupervisorClient(stack)
    client.launch(os.environ)
    supervisor = psutil.Process(client.pid())
    client.start("slow")
    while not (tmp_path / "deaf").exists():
        assert not client.has_failed("slow")
    client.call("shutdown")
    yield stack
    (tmp_path / "let-go").touch()
    supervisor.wait(30)


def test_it_answers_nothing_but_is_known_to_run(shutting_down: StackSettings) -> None:
    with pytest.raises(_ShuttingDownError):
        SupervisorClient(shutting_down).call("getPID")
    assert psutil.pid_exists(SupervisorClient(shutting_down).pid() or 0)
    assert lifecycle.status(shutting_down) == {}


def test_stopping_the_stack_waits_until_it_is_gone(
    shutting_down: StackSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = psutil.Process(SupervisorClient(shutting_down).pid())
    waits = SupervisorClient.shut_down

    def let_go_and_wait(client: SupervisorClient) -> None:
        (tmp_path / "let-go").touch()
        waits(client)

    monkeypatch.setattr(SupervisorClient, "shut_down", let_go_and_wait)
    lines: list[str] = []
    assert lifecycle.stop(shutting_down, lines.append)
    assert not supervisor.is_running()
    assert lines == []
