"""Why a demo ended before its end: one line for the person at the terminal, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from demo.interrupts import INTERRUPTED, TerminatedError
from stack import paths
from stack.ports import PortTakenError
from stack.settings import StackSettings
from stack.supervisor.client import StackStoppedError, SupervisorClient, SupervisorError
from stack.supervisor.orphans import OrphanProcessError

_START: Final = "stack"


@dataclass(frozen=True)
class Ending:
    """``line``: the last that is said. ``is_failure``: nobody wanted it."""

    line: str
    code: int
    is_failure: bool = False


def ending_of(error: BaseException, stage: str, stack: StackSettings) -> Ending:
    """What ended the demo in ``stage`` (empty: before the first)."""
    where = f"during stage {stage}" if stage else "before the first stage"
    if isinstance(error, KeyboardInterrupt):
        by_signal = isinstance(error, TerminatedError)
        how = "told to end (SIGTERM)" if by_signal else "interrupted"
        runs = SupervisorClient(stack).pid() is not None
        left = "the stack is still running, make down stops it" if runs else "nothing is left running"
        return Ending(f"stopped: {how} {where}; {left}", 1 if by_signal else INTERRUPTED)
    if _is_stack_stopped(error, stage, stack):
        return Ending(f"stopped: the stack was shut down (make down) {where}", 1)
    return Ending(f"{type(error).__name__}: {error}", 1, is_failure=True)


def _is_stack_stopped(error: BaseException, stage: str, stack: StackSettings) -> bool:
    """Whether the stack has run and was stopped: then whatever the demo stumbled over is a consequence."""
    if isinstance(error, StackStoppedError):
        return True
    if not stage or isinstance(error, PortTakenError | SupervisorError | OrphanProcessError):
        return False
    has_run = stage != _START or paths.log(stack, "supervisord").exists()
    return has_run and SupervisorClient(stack).is_stopped()
