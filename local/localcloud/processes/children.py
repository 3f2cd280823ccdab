"""Child processes: each in its own group, logged to files, stopped as a group, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

_REAPER: Final = Path(__file__).with_name("reaper.py")


class ChildProcess:
    """One running command."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def group(self) -> int:
        """Process group id; the command's own pid."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the command has not ended."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit status (negative: signal), or ``None`` when ``timeout`` seconds passed first."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace: float) -> None:
        """SIGTERM to the whole group, SIGKILL to what is left of it after ``grace`` seconds or after the command."""
        self._signal(signal.SIGTERM)
        self.wait(grace)
        self._signal(signal.SIGKILL)
        self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, number)


class ChildProcesses:
    """Starts children and sees that none outlives this process, however it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: dict[int, ChildProcess] = {}
        self._reaper = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", str(_REAPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def start(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], stdout: Path, stderr: Path
    ) -> ChildProcess:
        """Start ``command`` in a new process group; raises ``OSError`` when it cannot be executed."""
        for log in (stdout, stderr):
            log.parent.mkdir(parents=True, exist_ok=True)
        with stdout.open("ab") as out, stderr.open("ab") as err:
            process = subprocess.Popen(  # noqa: S603
                list(command),
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        child = ChildProcess(process)
        with self._lock:
            self._children[child.group] = child
            self._tell(f"+{child.group}")
        return child

    def forget(self, child: ChildProcess) -> None:
        """The child has ended; what remains of its group ends too."""
        child.stop(0)
        with self._lock:
            self._children.pop(child.group, None)
            self._tell(f"-{child.group}")

    def stop_all(self, grace: float) -> None:
        """Stop every child, all at the same time."""
        with self._lock:
            children = list(self._children.values())
        with ThreadPoolExecutor(max(1, len(children))) as stoppers:
            list(stoppers.map(lambda child: child.stop(grace), children))

    def _tell(self, line: str) -> None:
        if self._reaper.stdin is None or self._reaper.poll() is not None:
            raise RuntimeError("the reaper of child processes has died")
        self._reaper.stdin.write(line + "\n")
        self._reaper.stdin.flush()
