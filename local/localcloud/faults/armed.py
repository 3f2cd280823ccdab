"""Faults on demand: what is armed, kept in one JSON file that every program of localcloud reads.

The gateway serves the switches (``POST /faults/{name}``).
"""

from __future__ import annotations

import threading
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import CliPositionalArg

from localcloud.state import journal

Outcome = Literal["fail", "hang", "lose"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("fail", "hang", "lose")


class SwitchError(RuntimeError):
    """A switch that does not exist or that cannot be thrown now."""


class _Fault(BaseModel):
    """What is positional is so on the command line only."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Next(_Fault):
    """Armed for the next ``count`` steps or jobs whose name contains ``match``."""

    count: CliPositionalArg[int] = Field(default=1, ge=1)
    match: str = ""


class Throttle(_Fault):
    """Refuse this share of DynamoDB writes for so many seconds."""

    fraction: CliPositionalArg[float] = Field(default=1.0, gt=0, le=1)
    seconds: CliPositionalArg[float] = Field(default=30, gt=0)


class Refuse(_Fault):
    """For so many seconds."""

    seconds: CliPositionalArg[float] = Field(default=30, gt=0)


class TargetedFault(_Fault):
    """A CloudWatch alarm."""

    name: CliPositionalArg[str] = Field(min_length=1)


#: Switch -> the body that ``POST /faults/{switch}`` takes.
SWITCHES: Final[dict[str, type[_Fault]]] = {
    **{f"{outcome}_next_{kind}": Next for outcome in OUTCOMES for kind in ("steps", "jobs")},
    "throttle_dynamodb": Throttle,
    "refuse_s3_writes": Refuse,
    "drop_redis": Refuse,
    "trip_alarm": TargetedFault,
    "clear_alarm": TargetedFault,
}


def parse(name: str, body: dict[str, Any]) -> _Fault:
    """The switch's body, validated; raises :class:`SwitchError` or ``pydantic.ValidationError``."""
    if name not in SWITCHES:
        raise SwitchError(f"no fault {name!r}; there are {', '.join(SWITCHES)}")
    return SWITCHES[name].model_validate(body)


class Faults:
    """The armed faults. Written by the control plane, read by all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})

    def active(self) -> dict[str, Any]:
        """Armed faults by name, with what is left of each; those that ran out are gone."""
        now = time.time()
        return {
            name: {**armed, "remaining_seconds": round(armed["until"] - now, 3)} if "until" in armed else armed
            for name, armed in self._read().items()
            if armed.get("until", now + 1) > now
        }

    def arm(self, name: str, switch: _Fault) -> None:
        """Arm a counted or timed fault, replacing what was armed under that name."""
        armed = switch.model_dump()
        if "seconds" in armed:
            armed["until"] = time.time() + armed["seconds"]
        with self._lock:
            journal.write_document(self._path, {**self._read(), name: armed})

    def clear(self, name: str | None = None) -> None:
        """Disarm one fault, or all."""
        with self._lock:
            kept = {} if name is None else {key: value for key, value in self._read().items() if key != name}
            journal.write_document(self._path, kept)

    def take(self, kind: Literal["steps", "jobs"], name: str) -> Outcome | None:
        """What is to befall this step or job, using up one count; ``None`` when it shall run as it is."""
        with self._lock:
            armed = self._read()
            for outcome in OUTCOMES:
                key = f"{outcome}_next_{kind}"
                if key in armed and armed[key]["match"] in name:
                    armed[key]["count"] -= 1
                    if not armed[key]["count"]:
                        del armed[key]
                    journal.write_document(self._path, armed)
                    return outcome
        return None

    def _read(self) -> dict[str, Any]:
        # Read for every write to S3: parsed again only when the file was replaced.
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return {}
        identity = (stat.st_ino, stat.st_mtime_ns)
        if identity != self._seen[0]:
            self._seen = (identity, journal.read_document(self._path))
        return deepcopy(self._seen[1])
