"""``python3.11 -m stack.setup`` (``make setup``): everything a bare checkout needs before anything else runs.

System packages by apt where the user may, the virtual environment and Node packages from their lock files. Standard
library only. What was installed from is remembered by digest, so a second run only looks. ``--browser`` adds what
looks at Airflow's UI.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stack.setup import system_packages
from stack.setup.system_packages import SystemPackage

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv"
DYNALITE = ROOT / "local" / "localcloud" / "dynalite"
STAMP = VENV / "installed-from"
SPARK_CLASSES = VENV / "spark-classes.jsa"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INPUTS = (
    ROOT / "requirements-dev.txt",
    ROOT / "pyproject.toml",
    ROOT / "local" / "localcloud" / "emr" / "class_archive_job.py",
    DYNALITE / "package-lock.json",
    Path(__file__),
)

# No service may start by itself, and Debian's default PostgreSQL cluster is not wanted.
_INSTALL_SCRIPT = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
for package in "$@"; do
  if [ "$package" = postgresql ]; then
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/no-main-cluster.conf
  fi
done
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
apt-get update
apt-get install --yes --no-install-recommends "$@"
"""


class SetupError(Exception):
    """Set-up cannot go on; the message tells a person what to do."""


def main(options: Sequence[str] = ()) -> int:
    """Set up; 1 with one clear message when something is missing that cannot be installed."""
    try:
        if sys.version_info[:2] != (3, 11):
            found = f"{sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})"
            raise SetupError(f"Python 3.11 is needed, this is {found}; on Debian 12: apt-get install python3.11")
        _install_system_packages(system_packages.for_the_browser() if "--browser" in options else [])
        _checkout()
    except (SetupError, subprocess.CalledProcessError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next one goes on", file=sys.stderr)
        return 130
    return 0


def digest(inputs: tuple[Path, ...] = INPUTS) -> str:
    """What the checkout would be installed from."""
    total = hashlib.sha256()
    for path in inputs:
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()


def is_current() -> bool:
    """Whether the last complete set-up was from the files as they are now."""
    return (
        STAMP.exists()
        and STAMP.read_text() == digest()
        and (VENV / "bin" / "python").exists()
        and (DYNALITE / "node_modules").is_dir()
    )


def become_root() -> list[str] | None:
    """The words before a command that make it root's; None when this user may not, at least not without a password."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:  # noqa: S607
        return ["sudo", "-n"]
    return None


def locked_version(package: str, lock: Path) -> str:
    """The version of a package that a requirements file pins."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", lock.read_text(), re.MULTILINE)
    if not found:
        raise SetupError(f"{lock} does not pin {package}")
    return found.group(1)


def _install_system_packages(besides: Sequence[SystemPackage]) -> None:
    packages = system_packages.missing([*system_packages.needed(), *besides])
    if not packages:
        return
    root = become_root()
    if root is None or not shutil.which("apt-get"):
        raise SetupError(system_packages.error_message(packages))
    print("installing system packages: {}".format(", ".join(package.name for package in packages)), flush=True)
    names = system_packages.debian_packages(packages)
    if subprocess.run([*root, "sh", "-c", _INSTALL_SCRIPT, "sh", *names], stdin=subprocess.DEVNULL).returncode:  # noqa: S603
        raise SetupError(f"apt-get failed; {system_packages.error_message(packages)}")
    importlib.invalidate_caches()
    still = system_packages.missing(packages)
    if still:
        raise SetupError(f"after apt-get install, still {system_packages.error_message(still)}")


def _checkout() -> None:
    if is_current():
        return
    python = VENV / "bin" / "python"
    if not python.exists():
        print("making the virtual environment", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(VENV))
    version = locked_version("uv", INPUTS[0])
    uv = VENV / "bin" / "uv"
    if not uv.exists() or version not in subprocess.run([str(uv), "--version"], capture_output=True, text=True).stdout:  # noqa: S603
        _run(str(python), "-m", "ensurepip", "--upgrade")
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv==" + version)
    print("installing the locked Python packages", flush=True)
    _run(str(uv), "pip", "sync", "--python", str(python), str(INPUTS[0]))
    _run(str(uv), "pip", "install", "--python", str(python), "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    print("installing the locked Node packages", flush=True)
    _run("npm", "ci", "--prefix", str(DYNALITE), "--no-audit", "--no-fund", "--loglevel", "error")
    print("making the archive of Spark's classes", flush=True)
    _run(str(python), "-m", "localcloud.emr.class_archive", str(SPARK_CLASSES))
    STAMP.write_text(digest())


def _run(*command: str) -> None:
    # uv brings its own certificates; the machine's may know a proxy's that uv's do not.
    certificates = {"UV_NATIVE_TLS": "true"} if SYSTEM_CERTIFICATES.exists() else {}
    environment = {**certificates, **os.environ}
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
