"""What the machine lacks is named at once, in one error with one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.setup import __main__, system_packages
from stack.setup.system_packages import SystemPackage

ROOT = Path(__file__).resolve().parents[4]


def part(name: str, package: str, here: bool) -> SystemPackage:
    return SystemPackage(name, (package,), lambda: here)


def test_only_what_is_missing_is_named() -> None:
    parts = [part("Java", "jre", False), part("git", "git", True), part("Node", "nodejs", False)]
    lacking = system_packages.missing(parts)
    assert [lack.name for lack in lacking] == ["Java", "Node"]
    assert system_packages.error_message(lacking) == (
        "missing on this machine: Java, Node\ninstall with: sudo apt-get install --no-install-recommends jre nodejs"
    )


def test_nothing_is_missing_where_everything_is() -> None:
    assert system_packages.missing([part("git", "git", True)]) == []


@pytest.mark.parametrize(
    ("printed", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("command not found", None),
    ],
)
def test_javas_version_is_read_from_what_it_prints(printed: str, major: int | None) -> None:
    assert system_packages.parse_java_version(printed) == major


def test_a_path_without_java_lacks_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    names = [lack.name for lack in system_packages.missing(system_packages.needed())]
    assert {"Java 17 or newer", "redis-server", "Node.js", "npm"} <= set(names)


def test_an_old_java_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_packages.java_version() == 11
    assert "Java 17 or newer" in [lack.name for lack in system_packages.missing(system_packages.needed())]


def test_only_the_campaigns_need_a_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Chromium" not in [part.name for part in system_packages.needed()]
    assert [lack.name for lack in system_packages.missing(system_packages.for_the_browser())] == ["Chromium"]
    (tmp_path / "chromium-browser").write_text("#!/bin/sh\n")
    (tmp_path / "chromium-browser").chmod(0o755)
    assert system_packages.missing(system_packages.for_the_browser()) == []


def test_set_up_looks_for_a_browser_when_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(__main__, "become_root", lambda: None)
    assert (__main__.main(), "Chromium" in capsys.readouterr().err) == (1, False)
    assert (__main__.main(["--browser"]), "Chromium" in capsys.readouterr().err) == (1, True)


def test_a_user_who_may_not_install_gets_one_error_and_nothing_is_touched(tmp_path: Path) -> None:
    script = (
        "from stack.setup import __main__ as install; install.become_root = lambda: None; "
        "install._checkout = lambda: print('went on'); raise SystemExit(install.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "local")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    missing, command = done.stderr.splitlines()
    assert missing.startswith("setup: missing on this machine: Java 17 or newer, redis-server, ")
    assert command.startswith("install with: sudo apt-get install --no-install-recommends openjdk-17-jre-headless ")


def test_another_python_is_refused_with_the_one_that_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert __main__.main() == 1
    assert "Python 3.11 is needed, this is 3.12" in capsys.readouterr().err


def test_set_up_needs_the_standard_library_only() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import stack.setup.__main__"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "local")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_installers_version_comes_from_the_lock_file(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("uvicorn==1.0\nuv==0.9.5\n    # via x\n")
    assert __main__.locked_version("uv", lock) == "0.9.5"
    with pytest.raises(__main__.SetupError, match="does not pin pip"):
        __main__.locked_version("pip", lock)


def test_a_changed_lock_file_is_a_reason_to_install_again(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("uv==0.9.5\n")
    before = __main__.digest((lock,))
    lock.write_text("uv==0.9.6\n")
    assert __main__.digest((lock,)) != before
