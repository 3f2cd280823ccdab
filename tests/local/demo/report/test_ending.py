"""However a demo is stopped, one line says how, and the exit code agrees."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import command
from demo.interrupts import TerminatedError
from demo.report import ending
from demo.report.ending import ending_of
from demo.sources import SimulatedHistory
from demo.stages import Demo
from simulator.marketplace.settings import documented_world
from stack import lifecycle, paths
from stack.ports import PortTakenError
from stack.settings import StackSettings
from stack.supervisor.client import StackStoppedError, SupervisorError
from tests.local.demo.records import T0


class Supervisor:
    """A watcher of a stack that runs, until it is stopped."""

    runs = True

    def __init__(self, stack: StackSettings) -> None:
        pass

    def pid(self) -> int | None:
        return 1 if self.runs else None

    def is_stopped(self) -> bool:
        return not self.runs


@pytest.fixture
def stack(tmp_path: Path) -> StackSettings:
    return StackSettings(home=tmp_path / "stack")


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> type[Supervisor]:
    for module in (ending, command):
        monkeypatch.setattr(module, "SupervisorClient", Supervisor)
    monkeypatch.setattr(Supervisor, "runs", True)
    return Supervisor


def test_an_interrupt_is_told_with_what_is_left_running(stack: StackSettings, supervisor: type[Supervisor]) -> None:
    ending = ending_of(KeyboardInterrupt(), "billing", stack)
    assert ending.line == "stopped: interrupted during stage billing; the stack is still running, make down stops it"
    assert (ending.code, ending.is_failure) == (130, False)
    supervisor.runs = False
    assert ending_of(KeyboardInterrupt(), "", stack).line == (
        "stopped: interrupted before the first stage; nothing is left running"
    )


def test_sigterm_is_an_end_but_no_interrupt(stack: StackSettings, supervisor: type[Supervisor]) -> None:
    ending = ending_of(TerminatedError(), "train", stack)
    assert "told to end (SIGTERM) during stage train" in ending.line
    assert ending.code == 1


@pytest.mark.parametrize("error", [ConnectionRefusedError("refused"), StackStoppedError("gone"), RuntimeError("died")])
def test_whatever_a_stopped_stack_makes_the_demo_stumble_over_the_stop_is_the_reason(
    error: Exception, stack: StackSettings, supervisor: type[Supervisor]
) -> None:
    supervisor.runs = False
    ending = ending_of(error, "ab_test", stack)
    assert ending.line == "stopped: the stack was shut down (make down) during stage ab_test"
    assert (ending.code, ending.is_failure) == (1, False)


def test_what_fails_on_a_running_stack_is_a_failure(stack: StackSettings, supervisor: type[Supervisor]) -> None:
    ending = ending_of(ConnectionRefusedError("refused"), "ab_test", stack)
    assert ending.line == "ConnectionRefusedError: refused"
    assert (ending.code, ending.is_failure) == (1, True)


def test_a_stack_that_never_ran_was_not_stopped(stack: StackSettings, supervisor: type[Supervisor]) -> None:
    supervisor.runs = False
    for error in (PortTakenError("8080 is taken"), SupervisorError("did not start"), RuntimeError("no password")):
        assert ending_of(error, "stack", stack).is_failure
    paths.logs(stack).mkdir(parents=True)
    paths.log(stack, "supervisord").touch()
    assert not ending_of(RuntimeError("postgres went away"), "stack", stack).is_failure


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A demo's directory, where nothing is started or stopped; the signals' handlers are given back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    home = tmp_path / "demo"
    monkeypatch.setattr(command, "HOME", home)
    monkeypatch.setattr(command, "STACK_HOME", home / "stack")
    monkeypatch.setattr(lifecycle, "stop", lambda *_: False)
    monkeypatch.setattr(lifecycle, "discard", lambda _: None)
    yield home
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_stack_that_was_stopped_has_no_addresses_any_more(
    home: Path, supervisor: type[Supervisor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Demo, "run", interrupt)
    run()
    assert "Airflow UI" in capsys.readouterr().out
    supervisor.runs = False
    run()
    assert "Airflow UI" not in capsys.readouterr().out


def run() -> int:
    return command.run(SimulatedHistory(documented_world(7, T0)), ask=False, stall_seconds=300)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_demo_leaves_report_and_summary_and_one_last_line(
    home: Path, supervisor: type[Supervisor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Demo, "run", interrupt)
    assert run() == 130
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "stopped: interrupted before the first stage; the stack is still running, make down stops it"
    ]
    assert "Stopped after" in printed.out
    assert json.loads((home / "record.json").read_text())["failure"] == printed.err.strip()
    assert (home / "report.html").exists()


def test_an_interrupt_while_the_report_is_written_ends_with_one_line_too(
    home: Path, supervisor: type[Supervisor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Demo, "run", lambda _: None)
    monkeypatch.setattr(command, "_write", interrupt)
    assert run() == 130
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, "the last line stays the last"


def test_the_first_reason_stands_when_the_report_is_interrupted_too(
    home: Path, supervisor: type[Supervisor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(_: Demo) -> None:
        raise RuntimeError("step s-1 died")

    monkeypatch.setattr(Demo, "run", break_down)
    monkeypatch.setattr(command, "_write", interrupt)
    assert run() == 1
    assert capsys.readouterr().err == "RuntimeError: step s-1 died\n"


def test_a_demo_that_ends_well_says_nothing_more(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Demo, "run", lambda _: None)
    assert run() == 0
    assert capsys.readouterr().err == ""
