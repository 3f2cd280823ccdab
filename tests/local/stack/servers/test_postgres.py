"""PostgreSQL's data lie where its own system user can reach them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from stack.servers import postgres
from stack.settings import StackSettings

NOBODY = pwd.getpwnam("nobody")


def test_an_open_way_can_be_gone(tmp_path: Path) -> None:
    assert postgres.can_reach(Path("/usr/lib"), NOBODY)


def test_one_closed_directory_on_the_way_is_enough_to_be_kept_out(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o700)
    assert not postgres.can_reach(closed / "open", NOBODY)


def test_the_owner_may_pass_through_a_closed_directory(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert postgres.can_reach(closed, pwd.getpwuid(os.getuid()))


def test_a_directory_that_is_not_there_yet_does_not_bar_the_way() -> None:
    assert postgres.can_reach(Path("/usr/not/there/yet"), NOBODY)


def test_the_data_leave_a_home_that_the_servers_user_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "system_user", lambda: "nobody")
    tmp_path.chmod(0o700)
    closed, other = StackSettings(home=tmp_path / "a"), StackSettings(home=tmp_path / "b")
    assert postgres.data_directory(closed).parent == Path("/var/tmp")
    assert postgres.data_directory(closed) != postgres.data_directory(other)


def test_whoever_is_not_root_keeps_the_data_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "system_user", lambda: None)
    assert postgres.data_directory(StackSettings(home=tmp_path)) == tmp_path / "postgres"


def test_the_place_can_be_set(tmp_path: Path) -> None:
    assert postgres.data_directory(StackSettings(postgres_data=tmp_path)) == tmp_path
