"""A server as a child process of the test, and waiting for what becomes so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(
    what: Callable[[], T], wanted: Callable[[T], bool] = bool, seconds: float = 60, pause: float = 0.05
) -> T:
    """Poll until it is as wanted; the last value is in the failure."""
    give_up = time.monotonic() + seconds
    while True:
        seen = what()
        if wanted(seen):
            return seen
        assert time.monotonic() < give_up, f"still {seen!r} after {seconds} s"
        time.sleep(pause)


class ChildProcess:
    """One child process that may be ended and started again. Put before its command: ``pin`` (a CPU list)."""

    port: int
    command: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    pin: str | None = None

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        pinned = ("taskset", "--cpu-list", self.pin) if self.pin else ()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*pinned, *self.command], env={**os.environ, **self.environment}, stdout=log, stderr=log
            )
        eventually(self._answers, seconds=40)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Signal it and wait for its end; nothing happens when it does not run."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
