"""``python -m localcloud.faults``: arms, shows and clears faults at the gateway of a localcloud that runs."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from typing import Any

from localcloud.faults.armed import OUTCOMES
from localcloud.settings import LocalcloudSettings


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
    fields = vars(parser.parse_args(arguments))
    gateway, command = fields.pop("gateway"), fields.pop("command")
    if gateway is None:
        gateway = LocalcloudSettings().gateway_url
    switch = command.replace("-", "_")
    for kind in ("steps", "jobs"):
        switch = switch.replace(f"_{kind}", f"_next_{kind}")
    try:
        if command == "show":
            response = _call(f"{gateway}/faults", "GET")
        elif command == "clear":
            response = _call(f"{gateway}/faults" + (f"/{fields['name']}" if fields["name"] else ""), "DELETE")
        else:
            response = _call(f"{gateway}/faults/{switch}", "POST", fields)
    except urllib.error.HTTPError as error:
        print(error.read().decode(), file=sys.stderr)
        return 1
    except urllib.error.URLError as error:
        print(f"localcloud does not answer at {gateway}: {error.reason}", file=sys.stderr)
        return 1
    print(response)
    return 0


if __name__ == "__main__":
    sys.exit(main())
