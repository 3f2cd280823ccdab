"""Talks to the supervisor that watches the stack's processes."""

from __future__ import annotations

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


class SupervisorError(RuntimeError):
    """The supervisor could not be started, or did not stop."""


class Watcher:
    """One stack's supervisord."""

    def __init__(self, stack: StackSettings) -> None:
        self._stack = stack

    @property
    def _rpc(self) -> Any:
        # A transport whose connection failed once stays broken, and none is safe between threads: one for each call.
        transport = SupervisorTransport(None, None, f"unix://{paths.supervisor_socket(self._stack)}")
        # The transport ignores the address; ServerProxy insists on one.
        return cast(Any, xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)).supervisor

    def pid(self) -> int | None:
        """supervisord's process id, or None when it does not run."""
        try:
            return int(self._rpc.getPID())
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError):
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
        deadline = time.monotonic() + 10
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise SupervisorError(f"supervisord does not answer; see {paths.log(self._stack, 'supervisord')}")
            time.sleep(_POLL)

    def states(self) -> dict[str, str]:
        """Program -> RUNNING, STARTING, BACKOFF, FATAL, STOPPED, ..."""
        return {process["name"]: process["statename"] for process in self._rpc.getAllProcessInfo()}

    def pids(self) -> dict[str, int]:
        """Program -> process id, of those that run."""
        return {process["name"]: process["pid"] for process in self._rpc.getAllProcessInfo() if process["pid"]}

    def start(self, program: str) -> None:
        """Start one program unless it runs; does not wait."""
        if self.states()[program] in _DEAD:
            self._rpc.startProcess(program, False)

    def has_failed(self, program: str) -> bool:
        """Whether the supervisor has given the program up."""
        return self.states()[program] == "FATAL"

    def stop(self, programs: Iterable[str]) -> None:
        """Stop programs at the same time and wait until none runs; the supervisor kills what does not obey."""
        names = [name for name in programs if self.states().get(name, "STOPPED") not in _DEAD]
        for name in names:
            try:
                self._rpc.stopProcess(name, False)
            except xmlrpc.client.Fault:
                continue  # it ended by itself meanwhile
        while any(self.states()[name] not in _DEAD for name in names):
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
        try:
            self._rpc.shutdown()
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.SHUTDOWN_STATE:  # somebody else has told it to
                raise
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            raise SupervisorError(f"supervisord (pid {pid}) did not stop within {timeout:.0f} s") from None
