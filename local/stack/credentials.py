"""This installation's passwords and keys: made at random at the first start, in files that only their owner reads."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

from stack import paths
from stack.environment import AIRFLOW_USERS
from stack.settings import StackSettings


class MissingPasswordError(LookupError):
    """A password was asked for that this stack never made."""


def ensure(stack: StackSettings) -> None:
    """Make what is not there yet; what is there stays, so that a restart logs nobody out."""
    paths.secrets(stack).mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.airflow_home(stack).mkdir(parents=True, exist_ok=True)
    passwords = _read_airflow_passwords(stack)
    if AIRFLOW_USERS.keys() - passwords.keys():
        made = {user: secrets.token_urlsafe(12) for user in AIRFLOW_USERS} | passwords
        write_private(paths.airflow_passwords(stack), json.dumps(made, indent=2) + "\n")
    if not paths.pgpass(stack).exists():
        write_private(paths.pgpass(stack), f"*:*:*:adrank:{secrets.token_hex(24)}\n")
    if not paths.capture_password(stack).exists():
        write_private(paths.capture_password(stack), secrets.token_hex(24))
    config = paths.airflow_home(stack) / "airflow.cfg"
    if not config.exists():
        write_private(config, _airflow_keys())


def airflow_password(stack: StackSettings, user: str) -> str:
    """The password of an Airflow user.

    Raises:
        MissingPasswordError: the stack was never started, or has no such user.
    """
    try:
        return _read_airflow_passwords(stack)[user]
    except KeyError:
        raise MissingPasswordError(f"no password of user {user!r} in {paths.airflow_passwords(stack)}") from None


def postgres_password(stack: StackSettings) -> str:
    """The password of the database user ``adrank``."""
    return paths.pgpass(stack).read_text().strip().rsplit(":", 1)[1]


def capture_password(stack: StackSettings) -> str:
    """The password of the database user that changes are captured as."""
    return paths.capture_password(stack).read_text()


def _read_airflow_passwords(stack: StackSettings) -> dict[str, str]:
    path = paths.airflow_passwords(stack)
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _airflow_keys() -> str:
    lines = []
    for section, option, value in (
        ("core", "fernet_key", base64.urlsafe_b64encode(os.urandom(32)).decode()),
        ("api", "secret_key", secrets.token_urlsafe(32)),
        ("api_auth", "jwt_secret", secrets.token_urlsafe(48)),
    ):
        lines.append(f"[{section}]\n{option} = {value}\n")
    return "\n".join(lines)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner reads."""
    draft = path.with_name(path.name + ".draft")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
