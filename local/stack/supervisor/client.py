"""Talks to the supervisor that watches the stack's processes."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from stack import paths
from stack.settings import ROOT, StackSettings

_POLL: Final = 0.1
_DEAD: Final = {"FATAL", "EXITED", "STOPPED", "UNKNOWN"}
_STOPPED: Final = {"STOPPING", "STOPPED"}


class SupervisorError(RuntimeError):
    """The supervisor could not be started, or did not stop."""


class StackStoppedError(RuntimeError):
    """Somebody has stopped the stack, or is about it."""


class _NotRunningError(Exception):
    """supervisord does not run."""


class _ShuttingDownError(_NotRunningError):
    """supervisord answers nothing any more, because somebody has told it to shut down."""


class SupervisorClient:
    """One stack's supervisord."""

    def __init__(self, stack: StackSettings) -> None:
        self._stack = stack

    def call(self, method: str, *arguments: object) -> Any:
        """What supervisord returns for one of its methods."""
        # A transport whose connection failed once stays broken, and none is safe between threads: one for each call.
        transport = SupervisorTransport(None, None, f"unix://{paths.supervisor_socket(self._stack)}")
        # The transport ignores the address; ServerProxy insists on one.
        server = cast(Any, xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport))
        try:
            return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                raise _ShuttingDownError from fault
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise _NotRunningError from error

    def pid(self) -> int | None:
        """supervisord's process id, or None when it does not run."""
        try:
            return int(self.call("getPID"))
        except _ShuttingDownError:
            return self._pid_on_file()
        except _NotRunningError:
            return None

    def _pid_on_file(self) -> int | None:
        try:
            return int(paths.supervisor_pid(self._stack).read_text())
        except FileNotFoundError:  # the last that supervisord does is to remove it
            return None

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start supervisord on the rendered configuration; its programs are not started yet."""
        paths.supervisor_socket(self._stack).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(paths.supervisor_config(self._stack))]
        done = subprocess.run(  # noqa: S603
            command, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise SupervisorError(f"supervisord did not start:\n{done.stdout}{done.stderr}")
        deadline = time.monotonic() + self._stack.start_timeout
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise SupervisorError(f"supervisord does not answer; see {paths.log(self._stack, 'supervisord')}")
            time.sleep(_POLL)

    def states(self) -> dict[str, str]:
        """Program -> RUNNING, STARTING, BACKOFF, FATAL, STOPPED, ...; empty when supervisord goes or is gone."""
        return {process["name"]: process["statename"] for process in self._processes()}

    def pids(self) -> dict[str, int]:
        """Program -> process id, of those that run; empty when supervisord goes or is gone."""
        return {process["name"]: process["pid"] for process in self._processes() if process["pid"]}

    def _processes(self) -> Any:
        with contextlib.suppress(_NotRunningError):
            return self.call("getAllProcessInfo")
        return ()

    def start(self, program: str) -> None:
        """Start one program unless it runs; does not wait."""
        state = self.states().get(program)
        if state is None:
            raise StackStoppedError(f"{program} cannot be started: supervisord goes or is gone")
        if state in _DEAD:
            self.call("startProcess", program, False)

    def has_failed(self, program: str) -> bool:
        """Whether the supervisor has given the program up, or is no longer there."""
        return self.states().get(program, "FATAL") == "FATAL"

    def is_stopped(self) -> bool:
        """Whether somebody has stopped the stack or is about it: a crash leaves no program stopped."""
        try:
            processes = self.call("getAllProcessInfo")
        except _NotRunningError:
            return True
        return any(process["statename"] in _STOPPED and process["start"] for process in processes)

    def require_running(self) -> None:
        """Raise :class:`StackStoppedError` when :meth:`is_stopped`."""
        if self.is_stopped():
            raise StackStoppedError("the stack was stopped")

    def stop(self, programs: Iterable[str]) -> None:
        """Stop programs at the same time and wait until none runs; the supervisor kills what does not obey."""
        names = [name for name in programs if self.states().get(name, "STOPPED") not in _DEAD]
        for name in names:
            try:
                self.call("stopProcess", name, False)
            except (xmlrpc.client.Fault, _NotRunningError):
                continue  # it ended by itself meanwhile
        while any(self.states().get(name, "STOPPED") not in _DEAD for name in names):
            time.sleep(_POLL)

    def shut_down(self, timeout: float = 60) -> None:
        """Stop whatever still runs, and supervisord itself."""
        pid = self.pid()
        if pid is None:
            return
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            return
        with contextlib.suppress(_NotRunningError):
            self.call("shutdown")
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            raise SupervisorError(f"supervisord (pid {pid}) did not stop within {timeout:.0f} s") from None
