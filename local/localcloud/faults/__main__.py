"""``python -m localcloud.faults``: arms, shows and clears faults at the gateway of a localcloud that runs."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import httpx
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

_TIMEOUT: Final = 30


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
    given = {name: body for name, body in args if isinstance(body, BaseModel)}
    if not given:
        print(f"localcloud.faults: error: expected one of {', '.join(commands.model_fields)}", file=sys.stderr)
        sys.exit(2)
    ((command, body),) = given.items()
    return args.gateway, command, body.model_dump()


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    gateway, command, fields = _parse(arguments)
    if gateway is None:
        gateway = LocalcloudSettings().gateway_url
    switch = re.sub("_(steps|jobs)$", r"_next_\1", command)
    try:
        if command == "show":
            response = httpx.get(f"{gateway}/faults", timeout=_TIMEOUT)
        elif command == "clear":
            one = f"/{fields['name']}" if fields["name"] else ""
            response = httpx.delete(f"{gateway}/faults{one}", timeout=_TIMEOUT)
        else:
            response = httpx.post(f"{gateway}/faults/{switch}", json=fields, timeout=_TIMEOUT)
    except httpx.TransportError as error:
        print(f"localcloud does not answer at {gateway}: {error}", file=sys.stderr)
        return 1
    print(response.text, file=sys.stderr if response.is_error else sys.stdout)
    return int(response.is_error)


if __name__ == "__main__":
    sys.exit(main())
