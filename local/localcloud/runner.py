"""Runs the commands of EMR's steps and of SageMaker's jobs as child processes, one for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from localcloud.faults.armed import Faults
from localcloud.processes.children import ChildProcess, ChildProcesses
from localcloud.settings import LocalcloudSettings
from localcloud.storage.lake_directory import LakeDirectory

#: What runs in place of a command that the fault switches let hang.
HANG: Final = ("sleep", "infinity")


class Runner:
    """A step or job is known by its key. ``changed`` is called after every change of state."""

    def __init__(
        self, settings: LocalcloudSettings, children: ChildProcesses, faults: Faults, changed: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._faults = faults
        self._changed = changed
        self._lake = LakeDirectory(settings.lake_dir)
        self._lock = threading.RLock()
        self._processes = children
        self._running: dict[str, ChildProcess] = {}
        #: Told to stop, and not ended yet.
        self._stopped: set[str] = set()
        #: Never started, as the fault switches want it.
        self._lost: set[str] = set()

    def _execute(
        self,
        key: str,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        logs: Path,
        started: Callable[[], None] = lambda: None,
        limit: float | None = None,
    ) -> int | None:
        """The exit status of a command that has run to its end; None when it was stopped, at the latest by ``limit``.

        ``logs``: the directory of its ``stdout`` and ``stderr``. ``started`` is called once it runs.
        """
        with self._lock:
            if key in self._stopped:
                return None
            child = self._processes.start(
                command,
                cwd=cwd,
                environment={**self._settings.child_environment(), **environment},
                stdout=logs / "stdout",
                stderr=logs / "stderr",
            )
            self._running[key] = child
        try:
            started()
            status = child.wait(limit)
            if status is None:
                self._stopped.add(key)
                child.stop(self._settings.stop_grace_seconds)
            return status
        finally:
            self._processes.forget(child)
            with self._lock:
                del self._running[key]

    def _stop(self, key: str) -> bool:
        """End a step's or job's process in the background; whether there is one."""
        child = self._running.get(key)
        if child is not None:
            threading.Thread(target=child.stop, args=(self._settings.stop_grace_seconds,), daemon=True).start()
        return child is not None

    def _forget(self, key: str) -> None:
        """It has ended."""
        self._stopped.discard(key)
        self._lost.discard(key)
