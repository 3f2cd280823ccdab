"""``python -m localcloud.storage.dynamodb``: becomes the DynamoDB API emulator (npm ``dynalite``), tables on disk."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from localcloud.settings import LocalcloudSettings, from_command_line

DIRECTORY: Final = Path(__file__).parents[1] / "dynalite"


class NotInstalledError(RuntimeError):
    """Node or the npm packages are missing."""


def command(settings: LocalcloudSettings) -> list[str]:
    """The command line of the emulator; raises :class:`NotInstalledError` naming what is missing."""
    node = shutil.which("node")
    if node is None:
        raise NotInstalledError("Node.js 18 or newer is not installed: apt-get install nodejs npm")
    if not (DIRECTORY / "node_modules" / "dynalite").is_dir():
        raise NotInstalledError(f"dynalite is not installed: npm ci --prefix {DIRECTORY}")
    options = {
        "--host": settings.host,
        "--port": str(settings.dynamodb_port),
        "--path": str(settings.tables_dir),
        "--faults": str(settings.faults_file),
    }
    return [node, str(DIRECTORY / "server.js"), *(word for option in options.items() for word in option)]


def main() -> None:
    """Replace this process by the emulator."""
    settings = from_command_line()
    settings.make_directories()
    settings.tables_dir.mkdir(parents=True, exist_ok=True)
    try:
        words = command(settings)
    except NotInstalledError as error:
        sys.exit(str(error))
    os.execv(words[0], words)  # noqa: S606


if __name__ == "__main__":
    main()
