"""Says why a process failed, from what it wrote.

spark-submit sends a Python driver's standard error to its own standard output, so both logs are read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_TAIL: Final = 64 * 1024
_LIMIT: Final = 1024
_NOISE: Final = re.compile(
    r"^\d\d(\d\d)?[/-]\d\d[/-]\d\d \d\d:\d\d:\d\d\S* (TRACE|DEBUG|INFO|WARN)\b"
    r"|^(WARNING|INFO|DEBUG)[: ]"
    r"|^Setting (Spark|default) log level|^Using Spark's default log4j|^To adjust logging level"
)
_ERROR: Final = re.compile(r"^(\w+\.)*\w*(Error|Exception|Interrupt|Exit)\b")


def last_error(*logs: Path) -> tuple[str, Path]:
    """The last line that looks like an error, else the last that is not noise, and the log that has it.

    Logs given first are preferred. An empty text when nothing was said.
    """
    messages = [(log, _messages(log)) for log in logs]
    for pattern in (_ERROR, re.compile("")):
        for log, lines in messages:
            matching = [line for line in lines if pattern.match(line)]
            if matching:
                return matching[-1][:_LIMIT], log
    return "", logs[0]


def _messages(log: Path) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip() and not _NOISE.match(line)]
