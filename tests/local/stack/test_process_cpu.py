"""CPU time is that of the stack's processes, of those that they have waited for, and of nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from stack import paths
from stack.environment import MARKER
from stack.process_cpu import StackCpu, tree_seconds
from stack.settings import StackSettings

pytestmark = pytest.mark.stack
# Burns as many CPU seconds as it is told, says so, and lives until its input ends.
BURNER = """
import os, subprocess, sys, time
own, childs = map(float, sys.argv[1:])
while time.process_time() < own: pass
if childs:
    subprocess.run([sys.executable, "-c", f"import time\\nwhile time.process_time() < {childs}: pass"], check=True)
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def burn() -> Iterator[Callable[..., int]]:
    with ExitStack() as running:

        def start(
            own: float, childs: float = 0, variables: Mapping[str, str] | None = None, cwd: Path | None = None
        ) -> int:
            process = subprocess.Popen(
                [sys.executable, "-c", BURNER, str(own), str(childs)],
                env={**os.environ, **(variables or {})},
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            running.callback(process.communicate)
            assert process.stdout
            assert process.stdout.readline() == "done\n"
            return process.pid

        yield start


def marked(stack: StackSettings, **more: str) -> dict[str, str]:
    return {MARKER: str(stack.home), **more}


def test_it_counts_marked_processes_with_their_ended_children(stack: StackSettings, burn: Callable[..., int]) -> None:
    cpu = StackCpu(stack)
    assert cpu.read().total == 0
    burn(0.3, 0.4, marked(stack))
    burn(0.3, variables={MARKER: "/another/stack"})
    assert 0.6 <= cpu.read().total < 1.5


def test_a_child_that_hides_its_environment_belongs_to_its_parent(stack: StackSettings) -> None:
    script = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {BURNER!r}, '0.3', '0'], env={{}})"
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **marked(stack)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    assert parent.stdout.readline() == "done\n"
    assert StackCpu(stack).read().total >= 0.25
    parent.communicate()


def test_work_is_that_of_steps_and_jobs_and_not_of_servers(stack: StackSettings, burn: Callable[..., int]) -> None:
    cpu = StackCpu(stack)
    work = paths.localcloud(stack) / "work"
    step = work / "emr" / "j-1" / "s-1"
    step.mkdir(parents=True)
    burn(0.3, variables=marked(stack))
    assert cpu.read().work == 0
    burn(0.3, variables=marked(stack), cwd=step)
    after_step = cpu.read().work
    assert 0.25 <= after_step < 0.8
    burn(0.3, variables=marked(stack, SAGEMAKER_BASE_DIR=str(work / "sagemaker" / "training-job" / "t")))
    assert cpu.read().work >= after_step + 0.25


def test_an_endpoint_counts_while_it_starts_and_not_for_its_requests(
    stack: StackSettings, burn: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = paths.localcloud(stack) / "work" / "endpoints" / "production"
    burn(0.3, variables=marked(stack, SAGEMAKER_BASE_DIR=str(base)))
    assert StackCpu(stack).read().work >= 0.25
    monkeypatch.setattr("stack.process_cpu._SERVING_START", 0.1)
    assert StackCpu(stack).read().work == 0.1


def test_a_process_beside_the_stack_may_be_counted_too(stack: StackSettings) -> None:
    assert StackCpu(stack, also=os.getpid()).read().total >= time.process_time() - 0.05


def test_a_tree_is_a_process_with_all_below_it(burn: Callable[..., int]) -> None:
    pid = burn(0.2, 0.3)
    seconds = tree_seconds(pid)
    assert seconds is not None
    assert 0.45 <= seconds < 1.5
    assert tree_seconds(2**22 + 1) is None
