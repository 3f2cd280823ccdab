"""Where a stack keeps each thing, below its home directory."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from stack.settings import StackSettings

# sun_path holds 108 bytes, and supervisord binds "<socket>.<pid>" before it renames it.
_LONGEST_SOCKET_PATH: Final = 95


def airflow_home(stack: StackSettings) -> Path:
    """``AIRFLOW_HOME``: airflow.cfg with this installation's secret keys, and the task logs."""
    return stack.home / "airflow"


def secrets(stack: StackSettings) -> Path:
    """Directory (mode 700) of the generated passwords."""
    return stack.home / "secrets"


def airflow_passwords(stack: StackSettings) -> Path:
    """JSON: Airflow user -> password."""
    return secrets(stack) / "airflow_passwords.json"


def pgpass(stack: StackSettings) -> Path:
    """PostgreSQL's password file, so that no address holds a password."""
    return secrets(stack) / "pgpass"


def capture_password(stack: StackSettings) -> Path:
    """The replication user's password."""
    return secrets(stack) / "capture_password"


def spark_conf(stack: StackSettings) -> Path:
    """``SPARK_CONF_DIR`` of what Airflow submits by itself."""
    return stack.home / "spark-conf"


def logs(stack: StackSettings) -> Path:
    """Directory of the programs' output."""
    return stack.home / "logs"


def log(stack: StackSettings, program: str) -> Path:
    """What one program printed."""
    return logs(stack) / f"{program}.log"


def lake(stack: StackSettings) -> Path:
    """The object store: a bucket is a sub-directory, an object is a file."""
    return stack.home / "lake"


def broker(stack: StackSettings) -> Path:
    """The broker's own object store, which nothing else writes."""
    return stack.home / "broker"


def localcloud(stack: StackSettings) -> Path:
    """localcloud's state (journal, tables) and the scratch of its jobs."""
    return stack.home / "localcloud"


def redis(stack: StackSettings) -> Path:
    """Redis' append-only file."""
    return stack.home / "redis"


def supervisor_config(stack: StackSettings) -> Path:
    """The rendered supervisord configuration."""
    return stack.home / "supervisord.conf"


def supervisor_pid(stack: StackSettings) -> Path:
    """supervisord's process id, there as long as it has not ended in order."""
    return stack.home / "supervisord.pid"


def supervisor_socket(stack: StackSettings) -> Path:
    """supervisord's control socket: under home, unless home is too deep for a socket's address."""
    socket = stack.home / "supervisor.sock"
    if len(str(socket)) <= _LONGEST_SOCKET_PATH:
        return socket
    return Path(tempfile.gettempdir()) / f"adrank-stack-{tag(stack)}" / "supervisor.sock"


def tag(stack: StackSettings) -> str:
    """Short name of this home, for what has to lie outside of it."""
    return hashlib.sha256(str(stack.home).encode()).hexdigest()[:12]
