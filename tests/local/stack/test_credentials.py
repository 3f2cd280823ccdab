"""Generated passwords and keys: random, kept, readable by their owner only."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from stack import credentials, paths
from stack.environment import AIRFLOW_USERS
from stack.settings import StackSettings


def files(stack: StackSettings) -> list[Path]:
    return [paths.airflow_passwords(stack), paths.pgpass(stack), paths.airflow_home(stack) / "airflow.cfg"]


def test_only_the_owner_can_read_them(stack: StackSettings) -> None:
    credentials.ensure(stack)
    assert [oct(file.stat().st_mode & 0o777) for file in files(stack)] == ["0o600"] * 3


def test_a_restart_keeps_them(stack: StackSettings) -> None:
    credentials.ensure(stack)
    before = [file.read_bytes() for file in files(stack)]
    credentials.ensure(stack)
    assert [file.read_bytes() for file in files(stack)] == before


def test_every_user_has_a_password_of_their_own(stack: StackSettings) -> None:
    credentials.ensure(stack)
    passwords = {credentials.airflow_password(stack, user) for user in AIRFLOW_USERS}
    assert len(passwords) == len(AIRFLOW_USERS)


def test_two_installations_differ(stack: StackSettings, tmp_path: Path) -> None:
    other = StackSettings(home=tmp_path)
    credentials.ensure(stack)
    credentials.ensure(other)
    assert credentials.postgres_password(stack) != credentials.postgres_password(other)
    ours, theirs = (configparser.RawConfigParser() for _ in range(2))
    ours.read(files(stack)[2])
    theirs.read(files(other)[2])
    for section, option in (("core", "fernet_key"), ("api", "secret_key"), ("api_auth", "jwt_secret")):
        assert ours.get(section, option) != theirs.get(section, option)


def test_an_unknown_user_is_named(stack: StackSettings) -> None:
    with pytest.raises(credentials.MissingPasswordError, match="'nobody'"):
        credentials.airflow_password(stack, "nobody")
