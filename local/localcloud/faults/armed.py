"""Faults on demand: what is armed, kept in one JSON file that every program of localcloud reads.

``python -m localcloud.faults`` is the client; the gateway serves the switches (``POST /faults/{name}``).
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from localcloud.state import documents

Outcome = Literal["fail", "hang", "lose"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("fail", "hang", "lose")


class UnknownFaultError(LookupError):
    """No switch of that name."""


class _Fault(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Next(_Fault):
    """Armed for the next ``count`` steps or jobs whose name contains ``match``."""

    count: int = Field(default=1, ge=1)
    match: str = ""


class Throttle(_Fault):
    """Refuse this share of DynamoDB writes for so many seconds."""

    fraction: float = Field(default=1.0, gt=0, le=1)
    seconds: float = Field(default=30, gt=0)


class Refuse(_Fault):
    """For so many seconds."""

    seconds: float = Field(default=30, gt=0)


class Named(_Fault):
    """A CloudWatch alarm."""

    name: str = Field(min_length=1)


#: Switch -> the body that ``POST /faults/{switch}`` takes.
SWITCHES: Final[dict[str, type[_Fault]]] = {
    **{f"{outcome}_next_{kind}": Next for outcome in OUTCOMES for kind in ("steps", "jobs")},
    "throttle_dynamodb": Throttle,
    "refuse_s3_writes": Refuse,
    "drop_redis": Refuse,
    "trip_alarm": Named,
    "clear_alarm": Named,
}


def parse(name: str, body: dict[str, Any]) -> _Fault:
    """The switch's body, validated; raises :class:`UnknownFaultError` or ``pydantic.ValidationError``."""
    if name not in SWITCHES:
        raise UnknownFaultError(f"no fault {name!r}; there are {', '.join(SWITCHES)}")
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
            documents.dump(self._path, {**self._read(), name: armed})

    def clear(self, name: str | None = None) -> None:
        """Disarm one fault, or all."""
        with self._lock:
            kept = {} if name is None else {key: value for key, value in self._read().items() if key != name}
            documents.dump(self._path, kept)

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
                    documents.dump(self._path, armed)
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
            self._seen = (identity, documents.load(self._path))
        return deepcopy(self._seen[1])


def drop_redis(host: str, port: int, seconds: float) -> None:
    """Close every client's connection and hold all commands back for ``seconds``."""
    import redis

    with redis.Redis(host=host, port=port, socket_timeout=5) as client:
        # In this order: a paused server does not execute the kill either.
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")


def _call(url: str, method: str, body: dict[str, Any] | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        text: str = response.read().decode()
    return text


def _commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="what is armed")
    clear = commands.add_parser("clear", help="disarm one fault, or all")
    clear.add_argument("name", nargs="?")
    for outcome in OUTCOMES:
        for kind in ("steps", "jobs"):
            counted = commands.add_parser(f"{outcome}-{kind}", help=f"{outcome} the next {kind}")
            counted.add_argument("count", nargs="?", type=int, default=1)
            counted.add_argument("--match", default="", help="only those whose name contains this")
    throttle = commands.add_parser("throttle-dynamodb", help="refuse a share of the writes")
    throttle.add_argument("fraction", type=float)
    throttle.add_argument("seconds", type=float)
    for name, what in (("refuse-s3-writes", "answer writes with SlowDown"), ("drop-redis", "close and pause clients")):
        commands.add_parser(name, help=what).add_argument("seconds", type=float)
    for name in ("trip-alarm", "clear-alarm"):
        commands.add_parser(name).add_argument("name")


def main(arguments: list[str] | None = None) -> int:
    """Command line: ``fail-steps 1``, ``throttle-dynamodb 0.5 30``, ``trip-alarm NAME``, ``show``, ``clear`` ..."""
    parser = argparse.ArgumentParser(prog="python -m localcloud.faults", description=__doc__)
    parser.add_argument("--gateway", help="base URL; default: where LOCALCLOUD_* says")
    _commands(parser)
    chosen = vars(parser.parse_args(arguments))
    gateway, command = chosen.pop("gateway"), chosen.pop("command")
    if gateway is None:
        from localcloud.settings import Config

        gateway = Config().gateway_url
    switch = command.replace("-", "_")
    for kind in ("steps", "jobs"):
        switch = switch.replace(f"_{kind}", f"_next_{kind}")
    try:
        if command == "show":
            answer = _call(f"{gateway}/faults", "GET")
        elif command == "clear":
            answer = _call(f"{gateway}/faults" + (f"/{chosen['name']}" if chosen["name"] else ""), "DELETE")
        else:
            answer = _call(f"{gateway}/faults/{switch}", "POST", chosen)
    except urllib.error.HTTPError as error:
        print(error.read().decode(), file=sys.stderr)
        return 1
    except urllib.error.URLError as error:
        print(f"localcloud does not answer at {gateway}: {error.reason}", file=sys.stderr)
        return 1
    print(answer)
    return 0
