"""A PostgreSQL server of its own for a test: its own data directory and port, the write-ahead log decodable."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

from stack.servers import postgres
from tests.support.ports import free_port

HOST = "127.0.0.1"
USER = "adrank"


class PostgresServer:
    """Started on entry, gone with its data on exit. Its only user is the superuser ``adrank``."""

    def __init__(self) -> None:
        self.password = secrets.token_hex(12)
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="adrank-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        try:
            self._initialise()
            self.start()
            with self.connect("postgres") as connection, connection.cursor() as cursor:
                cursor.execute("COMMIT")
                cursor.execute("CREATE DATABASE marketplace")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def connect(self, database: str = "marketplace") -> Any:
        """A psycopg2 connection."""
        return psycopg2.connect(host=HOST, port=self.port, user=USER, password=self.password, dbname=database)

    def start(self) -> None:
        """Start the server on the data that is there and wait until it answers."""
        options = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "wal_level": "logical",
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        command = [str(postgres.binary("postgres")), "-D", str(self._home / "data"), *flags]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=postgres.system_user(), cwd="/", stdout=log, stderr=log)
        for _ in range(600):
            try:
                self.connect("postgres").close()
                return
            except psycopg2.OperationalError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self._home / 'log').read_text()}")

    def stop(self) -> None:
        """Stop the server at once, as a crash would; nothing that was committed is lost."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def _initialise(self) -> None:
        user = postgres.system_user()
        password = self._home / "password"
        password.write_text(self.password)
        if user:
            for path in (self._home, password):
                shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        command = [str(postgres.binary("initdb")), "--pgdata", str(self._home / "data"), "--username", USER]
        options = ["--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        done = subprocess.run([*command, *options, "--no-sync"], user=user, cwd="/", capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"initdb ended with {done.returncode}:\n{done.stderr}")
