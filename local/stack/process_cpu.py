"""CPU time of a stack's processes, from ``/proc``.

A process of a stack carries its marker, or descends from one that does: some overwrite their environment to show a
title. The time of a process that has ended is in its parent's once that has waited for it; an orphan's is lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from stack import paths
from stack.environment import MARKER
from stack.settings import StackSettings

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Seconds for which a new process may still become another one, by exec.
_YOUNG: Final = 10
#: CPU seconds in which a serving process starts, even a slow one; what it burns later is requests, not progress.
_SERVING_START: Final = 60


class Role(Enum):
    """What a process is to the stack."""

    FOREIGN = "foreign"
    SERVER = "server"
    JOB = "job"
    ENDPOINT = "endpoint"


@dataclass(frozen=True)
class CpuSeconds:
    """``total``: of all processes. ``work``: of steps, jobs and endpoints that start; falls when one of them ends."""

    total: float
    work: float


@dataclass(frozen=True)
class _Stat:
    """``parent``: a pid. ``started``: seconds since boot. ``cpu``: seconds, with those of ended children."""

    parent: int
    started: float
    cpu: float


class StackCpu:
    """One stack's processes, and besides them the process ``also`` (the demo itself)."""

    def __init__(self, stack: StackSettings, also: int | None = None) -> None:
        self._stack = stack
        self._also = also
        self._known: dict[tuple[int, float], Role] = {}
        work = paths.localcloud(stack) / "work"
        self._steps, self._jobs, self._endpoints = (f"{work / name}/" for name in ("emr", "sagemaker", "endpoints"))

    def read(self) -> CpuSeconds:
        """The CPU time of all processes that there are now, and of their ended children."""
        stats = _read_stats()
        roles = self._roles(stats)
        total = sum(stat.cpu for pid, stat in stats.items() if roles[pid] is not Role.FOREIGN or pid == self._also)
        jobs = sum(stat.cpu for pid, stat in stats.items() if roles[pid] is Role.JOB)
        starts = sum(min(stat.cpu, _SERVING_START) for pid, stat in stats.items() if roles[pid] is Role.ENDPOINT)
        return CpuSeconds(total, jobs + starts)

    def _roles(self, stats: Mapping[int, _Stat]) -> dict[int, Role]:
        roles: dict[int, Role] = {}
        for pid in stats:
            line = []
            one = pid
            while one in stats and one not in roles:
                line.append(one)
                one = stats[one].parent
            for member in reversed(line):
                stat = stats[member]
                own = self._known.get((member, stat.started)) or self._own_role(member)
                roles[member] = roles.get(stat.parent, Role.FOREIGN) if own is Role.FOREIGN else own
        grown = time.clock_gettime(time.CLOCK_BOOTTIME) - _YOUNG
        self._known = {
            (pid, stats[pid].started): role
            for pid, role in roles.items()
            if role is not Role.FOREIGN or stats[pid].started < grown
        }
        return roles

    def _own_role(self, pid: int) -> Role:
        try:
            variables = (_PROC / str(pid) / "environ").read_bytes().decode(errors="replace").split("\0")
            here = (_PROC / str(pid) / "cwd").readlink()
        except OSError:  # it has ended, or is another user's
            return Role.FOREIGN
        environment = dict(variable.partition("=")[::2] for variable in variables)
        if environment.get(MARKER) != str(self._stack.home):
            return Role.FOREIGN
        base = environment.get("SAGEMAKER_BASE_DIR", "")
        if base.startswith(self._endpoints):
            return Role.ENDPOINT
        return Role.JOB if base.startswith(self._jobs) or f"{here}/".startswith(self._steps) else Role.SERVER


def tree_seconds(pid: int) -> float | None:
    """CPU seconds of a process, its descendants and their ended children; None when it is not there."""
    stats = _read_stats()
    children: dict[int, list[int]] = {}
    for child, stat in stats.items():
        children.setdefault(stat.parent, []).append(child)
    if pid not in stats:
        return None
    total, left = 0.0, [pid]
    while left:
        one = left.pop()
        total += stats[one].cpu
        left += children.get(one, ())
    return total


def _read_stats() -> dict[int, _Stat]:
    found = ((int(entry.name), _read_stat(entry)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return {pid: stat for pid, stat in found if stat is not None}


def _read_stat(directory: Path) -> _Stat | None:
    try:
        text = (directory / "stat").read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return None
    # The command's name, in parentheses, may hold anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(int(fields[1]), int(fields[19]) / _TICKS, sum(map(int, fields[11:15])) / _TICKS)
