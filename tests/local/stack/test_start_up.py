"""A program that works may take any time to become healthy; one that does nothing, or ends again and again, may not."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from adrank.contracts.settings import Settings
from stack import health, lifecycle, paths, start_up
from stack.settings import StackSettings
from stack.start_up import StartError, StartUp
from stack.supervisor.client import StackStoppedError, SupervisorClient
from stack.supervisor.config import Program, render

pytestmark = pytest.mark.stack
SLEEPS = "import time; print('waiting for nothing', flush=True); time.sleep(600)"
WORKS = "while True: pass"
# Longer than the second after which the supervisor takes it for started.
ENDS = "import time; time.sleep(1.2)"


@pytest.fixture
def supervised(stack: StackSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[StackSettings]:
    """A stack of three programs that are never healthy; two seconds without progress are too long."""
    stack = stack.model_copy(update={"start_timeout": 2.0})
    paths.logs(stack).mkdir(parents=True)
    programs = {"sleeps": SLEEPS, "works": WORKS, "ends": ENDS}
    config = render(stack, [Program(name, (sys.executable, "-c", text)) for name, text in programs.items()])
    paths.supervisor_config(stack).write_text(config)
    monkeypatch.setattr(health, "checks", lambda _: dict.fromkeys(programs, lambda: False))
    SupervisorClient(stack).launch({"PATH": "/usr/bin:/bin"})
    yield stack
    lifecycle.stop(stack, lambda line: None)


def start(stack: StackSettings) -> StartUp:
    return StartUp(stack, Settings(), {}, lambda line: None)


def test_a_program_that_does_nothing_is_given_up_with_the_end_of_its_log(supervised: StackSettings) -> None:
    with pytest.raises(
        StartError, match=r"(?s)sleeps does nothing \(it is not healthy: no progress.*waiting for nothing"
    ):
        start(supervised)._bring_up("sleeps")


def test_a_program_that_ends_again_and_again_is_given_up(
    supervised: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_up, "_MAX_STARTS", 1)
    patient = supervised.model_copy(update={"start_timeout": 60.0})
    with pytest.raises(StartError, match="ends was started 2 times"):
        start(patient)._bring_up("ends")


def test_a_program_that_works_may_take_longer_than_the_limit(
    supervised: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    monkeypatch.setattr(health, "checks", lambda _: {"works": lambda: time.monotonic() - began > 5})
    start(supervised)._bring_up("works")
    assert time.monotonic() - began > 2 * supervised.start_timeout


def test_an_interrupt_gives_up_what_is_on_its_way() -> None:
    up, turns = object.__new__(StartUp), itertools.count()
    up._given_up = threading.Event()

    def interrupted() -> None:
        raise KeyboardInterrupt

    def goes_on() -> None:
        while not up._given_up.wait(0.01):
            assert next(turns) < 3000

    with pytest.raises(KeyboardInterrupt):
        up._in_parallel(interrupted, goes_on)


def test_of_two_programs_that_fail_neither_is_passed_over() -> None:
    up, lines = object.__new__(StartUp), list[str]()
    up._report = lines.append

    def fail(program: str) -> None:
        raise StartError(f"{program} keeps ending")

    with pytest.raises(StartError, match="redis keeps ending"):
        up._in_parallel(partial(fail, "redis"), lambda: None, partial(fail, "postgres"))
    assert lines == ["besides, postgres keeps ending"]


def test_a_stack_that_somebody_stops_is_known_and_one_that_starts_is_not(
    supervised: StackSettings,
) -> None:
    client = SupervisorClient(supervised)
    assert not client.is_stopped(), "nothing has been started yet"
    client.start("sleeps")
    while client.states()["sleeps"] != "RUNNING":
        time.sleep(0.05)
    client.require_running()
    client.stop(["sleeps"])
    assert client.is_stopped()
    client.shut_down()
    with pytest.raises(StackStoppedError):
        client.require_running()
    with pytest.raises(StackStoppedError):
        client.start("sleeps")


def test_a_program_that_crashed_stops_no_stack(supervised: StackSettings) -> None:
    client = SupervisorClient(supervised)
    client.start("ends")
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        assert not client.is_stopped()
        time.sleep(0.1)
