"""``python -m localcloud.faults``: arms, shows and clears faults at the gateway of a localcloud that runs."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from typing import Any

from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from localcloud.faults.armed import SWITCHES
from localcloud.settings import LocalcloudSettings


class _Show(BaseModel):
    """What is armed."""


class _Clear(BaseModel):
    """Disarm one fault, or all."""

    name: CliPositionalArg[str | None] = None


class _Arguments(BaseSettings):
    model_config = SettingsConfigDict(cli_kebab_case=True, cli_prog_name="python -m localcloud.faults")

    gateway: str | None = Field(default=None, description="base URL; default: where LOCALCLOUD_* says")

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but the command line."""
        return (sources["init_settings"],)


def _call(url: str, method: str, body: dict[str, Any] | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        text: str = response.read().decode()
    return text


def _commands() -> type[_Arguments]:
    """The command line: ``fail-steps 1``, ``throttle-dynamodb 0.5 30``, ``trip-alarm NAME``, ``show``, ``clear`` ..."""
    bodies: dict[str, type[BaseModel]] = {"show": _Show, "clear": _Clear}
    bodies |= {switch.replace("_next_", "_"): body for switch, body in SWITCHES.items()}
    optional: Any = CliSubCommand
    fields: dict[str, Any] = {name: (optional[body], ...) for name, body in bodies.items()}
    return create_model("Faults", __base__=_Arguments, __doc__=__doc__, **fields)


def _parse(arguments: list[str] | None) -> tuple[str | None, str, dict[str, Any]]:
    """(gateway, command, its arguments); a wrong command line ends the process with code 2."""
    commands = _commands()
    source = CliSettingsSource[Any](commands)
    try:
        args = commands(_cli_settings_source=source(args=sys.argv[1:] if arguments is None else arguments))
    except ValidationError as error:
        print(f"localcloud.faults: error: {error}", file=sys.stderr)
        sys.exit(2)
    chosen = {name: body for name, body in args if isinstance(body, BaseModel)}
    if not chosen:
        print(f"localcloud.faults: error: expected one of {', '.join(commands.model_fields)}", file=sys.stderr)
        sys.exit(2)
    ((command, body),) = chosen.items()
    return args.gateway, command, body.model_dump()


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    gateway, command, fields = _parse(arguments)
    if gateway is None:
        gateway = LocalcloudSettings().gateway_url
    switch = re.sub("_(steps|jobs)$", r"_next_\1", command)
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
