"""What the machine itself must have before anything can be installed into the checkout, and how Debian calls it.

Standard library only: this runs before there is a virtual environment, perhaps under a Python that is too old.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple


class SystemPackage(NamedTuple):
    """What a person calls it, the Debian packages that hold it, whether it is here."""

    name: str
    debian_packages: tuple[str, ...]
    is_here: Callable[[], bool]


def needed() -> list[SystemPackage]:
    """Everything the embedded default needs from the system."""
    return [
        SystemPackage("Java 17 or newer", ("openjdk-17-jre-headless",), lambda: (java_version() or 0) >= 17),
        SystemPackage("redis-server", ("redis-server",), lambda: _on_path("redis-server")),
        SystemPackage("PostgreSQL server", ("postgresql",), has_postgres),
        SystemPackage("Node.js", ("nodejs",), lambda: _on_path("node")),
        SystemPackage("npm", ("npm",), lambda: _on_path("npm")),
        SystemPackage("git", ("git",), lambda: _on_path("git")),
        SystemPackage("make", ("make",), lambda: _on_path("make")),
        SystemPackage(
            "Python's venv module", ("python3.11-venv",), lambda: importlib.util.find_spec("ensurepip") is not None
        ),
        SystemPackage("OpenMP runtime (LightGBM)", ("libgomp1",), lambda: _loads("libgomp.so.1")),
    ]


def for_the_browser() -> list[SystemPackage]:
    """What the campaigns that look at Airflow's UI need besides; a demo does without it."""
    return [SystemPackage("Chromium", ("chromium",), lambda: browser() is not None)]


def browser() -> str | None:
    """Path of the Chromium that is installed, under any of its names."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing(packages: Sequence[SystemPackage]) -> list[SystemPackage]:
    """Those that are not here."""
    return [package for package in packages if not package.is_here()]


def debian_packages(packages: Sequence[SystemPackage]) -> list[str]:
    """Their names for apt."""
    return [name for package in packages for name in package.debian_packages]


def error_message(packages: Sequence[SystemPackage]) -> str:
    """The one error: all that is missing, and the command that installs all of it."""
    return "missing on this machine: {}\ninstall with: sudo apt-get install --no-install-recommends {}".format(
        ", ".join(package.name for package in packages), " ".join(debian_packages(packages))
    )


def parse_java_version(text: str) -> int | None:
    """The major version in what ``java -version`` prints: 17 of ``"17.0.15"``, 8 of ``"1.8.0_402"``."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def java_version() -> int | None:
    """Major version of the Java that Spark would find: JAVA_HOME's, else the PATH's."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")  # noqa: PTH118
    if not java:
        return None
    try:
        done = subprocess.run(  # noqa: S603
            [java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError:
        return None
    return parse_java_version(done.stdout)


def has_postgres() -> bool:
    """Whether there is a server, which Debian keeps off the PATH."""
    return bool(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or _on_path("initdb")  # noqa: PTH207


def _on_path(name: str) -> bool:
    return shutil.which(name) is not None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
