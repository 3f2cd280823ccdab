"""``make down`` says one thing, however many stacks there are to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack import __main__ as command
from stack import lifecycle
from stack.settings import StackSettings


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str]:
    """Names of the homes whose stacks run; each stack is stopped once."""
    running: set[str] = set()

    def stop(stack: StackSettings, _: object) -> bool:
        was_running = stack.home.name in running
        running.discard(stack.home.name)
        return was_running

    monkeypatch.setattr(lifecycle, "stop", stop)
    monkeypatch.setattr(lifecycle, "discard", lambda stack: stack.home.rmdir())
    monkeypatch.setenv("STACK_HOME", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    return running


@pytest.mark.parametrize("homes", [{"own"}, {"demo"}, {"own", "demo"}])
def test_it_says_that_the_stack_is_down_when_any_ran(
    homes: set[str], running: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    running |= homes
    assert command.main(["down", "demo"]) == 0
    assert capsys.readouterr().out == "the stack is down\n"
    assert running == set()


def test_it_says_that_nothing_was_running_when_none_ran(running: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["down", "demo"]) == 0
    assert capsys.readouterr().out == "nothing was running\n"


def test_all_homes_are_discarded(running: set[str], tmp_path: Path) -> None:
    for name in ("own", "demo"):
        (tmp_path / name).mkdir()
    assert command.main(["discard", "demo"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_about_one_stack_takes_no_other(running: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["status", "demo"])
    assert "is about one stack" in capsys.readouterr().err


def test_an_interrupt_is_one_line(
    running: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "start", interrupt)
    assert command.main(["up"]) == 130
    assert capsys.readouterr().err == "up was interrupted; make down stops what runs\n"
