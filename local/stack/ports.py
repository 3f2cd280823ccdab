"""Says which of the stack's ports are taken, and by whom, before anything starts."""

from __future__ import annotations

import errno
import socket

import psutil

from stack.settings import HOST, PORT_LABELS, StackSettings


class PortTakenError(RuntimeError):
    """Another process listens where a server of the stack would."""


def require_free(stack: StackSettings) -> None:
    """Do nothing when every port can be bound.

    Raises:
        PortTakenError: one line for each port that cannot, naming its holder and the setting that moves it.
    """
    taken = [
        f"port {port} ({PORT_LABELS[name]}) is taken by {holder(port)}; "
        f"set STACK_PORTS__{name.upper()} (or STACK_PORT_BASE) to move it"
        for name, port in stack.ports.numbers().items()
        if not can_bind(port)
    ]
    if taken:
        raise PortTakenError("\n".join(taken))


def can_bind(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port that only has connections in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def holder(port: int) -> str:
    """``pid 123 (name)`` of the process that listens on a port, as far as this user may see it."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                break
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                break
    return "a process that this user may not see"
