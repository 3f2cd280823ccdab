"""Prepares the PostgreSQL cluster behind Airflow's metadata and MLflow's backend.

PostgreSQL refuses to run as root, so a root user's cluster belongs to the system user ``postgres``, in a directory that
this user can reach: under the stack's home where the way there is open, under /var/tmp otherwise.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2 import errors, sql

from stack import credentials, paths
from stack.environment import MARKETPLACE
from stack.settings import HOST, StackSettings

DATABASES: Final = ("airflow", "mlflow", MARKETPLACE)
_SYSTEM_USER: Final = "postgres"
_DEBIAN: Final = Path("/usr/lib/postgresql")


class PostgresError(RuntimeError):
    """The cluster could not be made; the message holds initdb's own words."""


def binary(name: str) -> Path | None:
    """A server program (``initdb``, ``postgres``), which Debian keeps off the PATH; the newest version wins."""
    versions = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]), reverse=True)
    if versions:
        return versions[0]
    found = shutil.which(name)
    return Path(found) if found else None


def system_user() -> str | None:
    """The user that must run the server, or None for whoever runs the stack."""
    return _SYSTEM_USER if os.geteuid() == 0 else None


def data_directory(stack: StackSettings) -> Path:
    """Where the cluster lies: as set, else under home, else (home closed to the server's user) under /var/tmp."""
    if stack.postgres_data:
        return stack.postgres_data
    inside = stack.home / "postgres"
    user = system_user()
    if user is None or can_reach(inside.parent, pwd.getpwnam(user)):
        return inside
    return Path("/var/tmp") / f"adrank-postgres-{paths.tag(stack)}"  # noqa: S108 - mode 700, owned by the server's user


def can_reach(directory: Path, user: pwd.struct_passwd) -> bool:
    """Whether ``user`` may pass through every existing directory on the way (by its permission bits)."""
    groups = set(os.getgrouplist(user.pw_name, user.pw_gid))
    for step in (directory, *directory.parents):
        if not step.exists():
            continue
        status = step.stat()
        if status.st_uid == user.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid in groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def ensure_cluster(stack: StackSettings) -> None:
    """Make the cluster if it is not there; its only user is ``adrank``, with the password of the pgpass file."""
    data = data_directory(stack)
    if (data / "PG_VERSION").exists():
        return
    initdb = binary("initdb")
    if initdb is None:
        raise PostgresError("PostgreSQL's initdb was not found; run make setup")
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    user = system_user()
    if user:
        shutil.chown(data, user, pwd.getpwnam(user).pw_gid)
    with tempfile.NamedTemporaryFile("w", prefix="adrank-initdb-") as password:
        password.write(credentials.postgres_password(stack))
        password.flush()
        if user:
            shutil.chown(password.name, user)
        command = [str(initdb), "--pgdata", str(data), "--username", "adrank", "--pwfile", password.name]
        options = ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        done = subprocess.run([*command, *options], user=user, cwd="/", text=True, capture_output=True)  # noqa: S603
    if done.returncode:
        raise PostgresError(f"initdb could not make a cluster in {data}:\n{done.stdout}{done.stderr}")


def command(stack: StackSettings) -> tuple[str, ...]:
    """The server's command line: loopback only, no Unix socket."""
    options = {
        "listen_addresses": HOST,
        "port": str(stack.ports.postgres),
        "unix_socket_directories": "",
        "max_connections": "120",
        # What change data capture reads.
        "wal_level": "logical",
        # A power cut may lose the last moments, never the consistency.
        "synchronous_commit": "off",
        "log_min_messages": "warning",
    }
    flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    return (str(binary("postgres") or "postgres"), "-D", str(data_directory(stack)), *flags)


def is_ready(stack: StackSettings) -> bool:
    """Whether the server answers a query."""
    try:
        psycopg2.connect(dsn(stack), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def ensure_databases(stack: StackSettings) -> None:
    """Create the databases that are not there yet."""
    with closing(psycopg2.connect(dsn(stack))) as connection:
        connection.autocommit = True
        for name in DATABASES:
            with suppress(errors.DuplicateDatabase), connection.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def identity(stack: StackSettings) -> str:
    """The cluster's own identifier: another one means another, emptier cluster."""
    with closing(psycopg2.connect(dsn(stack))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT system_identifier FROM pg_control_system()")
        row = cursor.fetchone()
        return str(row[0]) if row else ""


def dsn(stack: StackSettings, name: str = "postgres") -> str:
    """libpq's address of a database of the cluster, as its owner; the password stays in its file."""
    return f"host={HOST} port={stack.ports.postgres} user=adrank dbname={name} passfile={_quoted(paths.pgpass(stack))}"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
