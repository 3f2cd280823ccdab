"""``python -m stack up|down|status|env|discard``."""

from __future__ import annotations

import argparse
import shlex
import sys

from pydantic import ValidationError

from stack import lifecycle, paths
from stack.environment import AIRFLOW_USERS, environment, url
from stack.leftovers import LeftoverError
from stack.ports import PortTakenError
from stack.postgres import PostgresError
from stack.settings import PORT_LABELS, StackSettings
from stack.watcher import SupervisorError

_EXPECTED = (PortTakenError, PostgresError, SupervisorError, LeftoverError, lifecycle.StartError)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 with a plain message for what a person can put right."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status", "env", "discard"))
    command = parser.parse_args(arguments).command
    try:
        stack = StackSettings()
        return _run(command, stack)
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


def _run(command: str, stack: StackSettings) -> int:
    if command == "up":
        lifecycle.start(stack, _say)
        print(addresses(stack))
    elif command == "down":
        lifecycle.stop(stack, _say)
    elif command == "discard":
        lifecycle.stop(stack, _say)
        lifecycle.discard(stack)
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
