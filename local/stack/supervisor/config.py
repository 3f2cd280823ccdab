"""The programs that supervisord watches, and its configuration: a pure function of them.

What all programs share of the environment is not in it: supervisord hands on its own.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stack import paths
from stack.settings import ROOT, StackSettings

_STOP_SECONDS = 15


@dataclass(frozen=True)
class Program:
    """What the supervisor starts.

    ``stops_alone``: only the process itself is told to stop, because it ends its own children in order.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "TERM"
    stops_alone: bool = False


class UnfitForConfigError(ValueError):
    """A value that supervisord's configuration format cannot carry."""


def render(stack: StackSettings, programs: Iterable[Program]) -> str:
    """The text of supervisord.conf. Programs are started by stack.lifecycle, in order; a crash restarts them."""
    socket = paths.supervisor_socket(stack)
    head = f"""\
[supervisord]
nodaemon=false
directory={_plain(str(ROOT))}
pidfile={_plain(str(paths.supervisor_pid(stack)))}
logfile={_plain(str(paths.log(stack, "supervisord")))}
user={_user()}
childlogdir={_plain(str(paths.logs(stack)))}

[unix_http_server]
file={_plain(str(socket))}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{_plain(str(socket))}
"""
    return "\n".join([head, *(_program(stack, program) for program in programs)])


def _user() -> str:
    """Whoever runs it; saying so is what supervisord wants of root."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _program(stack: StackSettings, program: Program) -> str:
    lines = {
        "command": _plain(shlex.join(program.command)),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": "1",
        "startretries": "3",
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(_STOP_SECONDS),
        "stopasgroup": "false" if program.stops_alone else "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _plain(str(paths.log(stack, program.name))),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "1",
    }
    if program.environment:
        lines["environment"] = _environment(program.environment)
    if program.user:
        lines["user"] = program.user
    return "\n".join([f"[program:{program.name}]", *(f"{key}={value}" for key, value in lines.items())]) + "\n"


def _environment(variables: Mapping[str, str]) -> str:
    return ",".join(f"{name}={_quoted(name, value)}" for name, value in sorted(variables.items()))


def _quoted(name: str, value: str) -> str:
    if '"' in value and "'" in value:
        raise UnfitForConfigError(f"{name} holds both kinds of quotes")
    quote = "'" if '"' in value else '"'
    return f"{quote}{_plain(value)}{quote}"


def _plain(text: str) -> str:
    if "\n" in text or " ;" in text:
        raise UnfitForConfigError(f"supervisord's configuration cannot hold {text!r}")
    return text.replace("%", "%%")
