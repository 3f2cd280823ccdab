"""Finds and ends processes of a stack that outlived their supervisor.

A process of a stack is known by a variable that it inherits, the stack's home; or, where a program overwrites its
environment to show a title (Redis, PostgreSQL, Airflow's workers), by the session that supervisord opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from stack import paths
from stack.environment import MARKER
from stack.settings import StackSettings

_GRACE_SECONDS = 5


class OrphanProcessError(RuntimeError):
    """A process of the stack would not end."""


def tree(pid: int | None) -> list[psutil.Process]:
    """A process's descendants, as they are now."""
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []


def find(stack: StackSettings) -> list[psutil.Process]:
    """Processes that carry this stack's marker, or belong to the session of its last supervisord."""
    session = _session(stack)
    return [process for process in psutil.process_iter() if _is_marked(process, stack) or _is_in(process, session)]


def end(stack: StackSettings, report: Callable[[str], None], also: Iterable[psutil.Process] = ()) -> bool:
    """Ask what is left to end, kill what does not, and say so; whether anything was left.

    Raises:
        OrphanProcessError: something survived even that.
    """
    left = [process for process in {*also, *find(stack)} if _is_alive(process)]
    if not left:
        return False
    for process in left:
        report(f"ending a process that was left behind: pid {process.pid} ({_name(process)})")
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=_GRACE_SECONDS)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, immortal = psutil.wait_procs(stubborn, timeout=_GRACE_SECONDS)
    if immortal:
        raise OrphanProcessError(f"still alive: {', '.join(f'pid {p.pid} ({_name(p)})' for p in immortal)}")
    return True


def _is_marked(process: psutil.Process, stack: StackSettings) -> bool:
    try:
        return bool(process.environ().get(MARKER) == str(stack.home))
    except (psutil.Error, OSError):
        return False


def _session(stack: StackSettings) -> int | None:
    """The session of a supervisord that did not end in order, which would have removed its pid file."""
    pidfile = paths.supervisor_pid(stack)
    if not pidfile.exists():
        return None
    session = int(pidfile.read_text())
    try:
        leader = psutil.Process(session)
        # The number may be another process's by now.
        return session if str(paths.supervisor_config(stack)) in leader.cmdline() else None
    except psutil.NoSuchProcess:
        return session
    except psutil.AccessDenied:
        return None


def _is_in(process: psutil.Process, session: int | None) -> bool:
    try:
        return session is not None and os.getsid(process.pid) == session
    except ProcessLookupError:
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "gone"
