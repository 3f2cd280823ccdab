"""Processes of a stack that lost its supervisor are found by what they inherited; others are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from stack import paths
from stack.environment import MARKER
from stack.settings import StackSettings
from stack.supervisor import orphans

SLEEPER = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]


def sleeper(environment: dict[str, str], new_session: bool = False) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        SLEEPER,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )
    assert started.stdout
    assert started.stdout.readline() == "up\n"
    return started


@pytest.fixture
def marked(stack: StackSettings) -> Iterator[subprocess.Popen[str]]:
    process = sleeper({**os.environ, MARKER: str(stack.home)})
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def foreign() -> Iterator[subprocess.Popen[str]]:
    process = sleeper({**os.environ, MARKER: "/another/stack"}, new_session=True)
    yield process
    process.kill()
    process.communicate()


def test_only_processes_with_this_stacks_marker_are_ended(
    stack: StackSettings, marked: subprocess.Popen[str], foreign: subprocess.Popen[str]
) -> None:
    lines: list[str] = []
    orphans.end(stack, lines.append)
    assert not psutil.pid_exists(marked.pid)
    assert foreign.poll() is None
    assert [line for line in lines if f"pid {marked.pid} " in line] == lines
    assert len(lines) == 1


def test_a_number_in_the_pid_file_that_is_another_process_by_now_is_left_alone(
    stack: StackSettings, foreign: subprocess.Popen[str]
) -> None:
    paths.supervisor_pid(stack).write_text(str(foreign.pid))
    assert orphans.find(stack) == []


def test_members_of_a_dead_supervisors_session_are_found(stack: StackSettings) -> None:
    script = f"import subprocess; subprocess.Popen({SLEEPER!r}, stdin=subprocess.PIPE); import os; os._exit(0)"
    # The sleeper's input is a pipe whose other end is ours, so that it lives until we say.
    keep, give = os.pipe()
    leader = subprocess.Popen(
        [sys.executable, "-c", script.replace("stdin=subprocess.PIPE", f"stdin={keep}")],
        pass_fds=[keep],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(keep)
    assert leader.stdout
    assert leader.stdout.readline() == "up\n"
    leader.wait(10)
    paths.supervisor_pid(stack).write_text(str(leader.pid))
    found = orphans.find(stack)
    os.close(give)
    assert len(found) == 1
    assert found[0].pid != leader.pid


def test_nothing_is_said_when_nothing_is_left(stack: StackSettings) -> None:
    lines: list[str] = []
    orphans.end(stack, lines.append)
    assert lines == []
