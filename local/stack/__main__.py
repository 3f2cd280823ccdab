"""``python -m stack up|down|status|env|discard``; ``down HOME ...`` stops the stacks of other homes, too."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import CliPositionalArg

from adrank.contracts.entry_points.command_line import EntryPointArguments
from stack import lifecycle, paths
from stack.environment import AIRFLOW_USERS, environment, url
from stack.ports import PortTakenError
from stack.servers.postgres import PostgresError
from stack.settings import PORT_LABELS, StackSettings
from stack.start_up import StartError
from stack.supervisor.client import SupervisorError
from stack.supervisor.orphans import OrphanProcessError

#: Exit code after an interrupt, as a shell has it.
INTERRUPTED: Final = 130
_EXPECTED = (PortTakenError, PostgresError, SupervisorError, OrphanProcessError, StartError)


class StackArguments(EntryPointArguments):
    """Start, stop and show a stack of everything on this machine."""

    program = "python -m stack"

    command: CliPositionalArg[Literal["up", "down", "status", "env", "discard"]]
    home: CliPositionalArg[list[Path]] = Field(
        default=[], description="with down and discard: homes of other stacks to stop, too"
    )

    @model_validator(mode="after")
    def _is_about_one_stack(self) -> Self:
        if self.home and self.command not in ("down", "discard"):
            raise ValueError(f"{self.command} is about one stack, that of STACK_HOME")
        return self


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 with a plain message for what a person can put right."""
    args = StackArguments.parse(arguments)
    try:
        return _run(args.command, StackSettings(), args.home)
    except KeyboardInterrupt:
        print(f"{args.command} was interrupted; make down stops what runs", file=sys.stderr)
        return INTERRUPTED
    except ValidationError as error:
        print(f"the stack's settings are wrong:\n{error}", file=sys.stderr)
    except _EXPECTED as error:
        print(error, file=sys.stderr)
    return 1


def addresses(stack: StackSettings) -> str:
    """Where to point a browser, and how to read the passwords."""
    lines = [f"  {PORT_LABELS[name]:<26} {url(stack, name)}" for name in ("airflow", "mlflow", "localcloud", "s3")]
    users = ", ".join(AIRFLOW_USERS)
    lines.append(f"Airflow's users are {users}; their passwords: cat {paths.airflow_passwords(stack)}")
    lines.append(f"Logs: {paths.logs(stack)}. Stop it with: make down")
    return "\n".join(lines)


def _run(command: str, stack: StackSettings, homes: Sequence[Path]) -> int:
    if command == "up":
        lifecycle.start(stack, _say)
        print(addresses(stack))
    elif command in ("down", "discard"):
        stacks = [stack, *(stack.model_copy(update={"home": home.absolute()}) for home in homes)]
        stopped = [lifecycle.stop(each, _say) for each in stacks]
        print("the stack is down" if any(stopped) else "nothing was running")
        for each in stacks if command == "discard" else ():
            lifecycle.discard(each)
    elif command == "env":
        for name, value in sorted(environment(stack).items()):
            print(f"export {name}={shlex.quote(value)}")
    else:
        return _print_status(stack)
    return 0


def _print_status(stack: StackSettings) -> int:
    states = lifecycle.status(stack)
    if not states:
        print("the stack does not run")
        return 1
    for program, state in states.items():
        print(f"  {program:<26} {state}")
    print(addresses(stack))
    return 0 if set(states.values()) == {"RUNNING"} else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
