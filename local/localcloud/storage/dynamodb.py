"""``python -m localcloud.storage.dynamodb``: becomes the DynamoDB API emulator (npm ``dynalite``), tables on disk."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from localcloud.settings import Config, from_command_line

DIRECTORY: Final = Path(__file__).parents[1] / "dynalite"


class NotInstalledError(RuntimeError):
    """Node or the npm packages are missing."""


def command(config: Config) -> list[str]:
    """The command line of the emulator; raises :class:`NotInstalledError` naming what is missing."""
    node = shutil.which("node")
    if node is None:
        raise NotInstalledError("Node.js 18 or newer is not installed: apt-get install nodejs npm")
    if not (DIRECTORY / "node_modules" / "dynalite").is_dir():
        raise NotInstalledError(f"dynalite is not installed: npm ci --prefix {DIRECTORY}")
    options = {
        "--host": config.host,
        "--port": str(config.dynamodb_port),
        "--path": str(config.tables_dir),
        "--faults": str(config.faults_file),
    }
    return [node, str(DIRECTORY / "server.js"), *(word for option in options.items() for word in option)]


def main() -> None:
    """Replace this process by the emulator."""
    config = from_command_line()
    config.make_directories()
    config.tables_dir.mkdir(parents=True, exist_ok=True)
    try:
        words = command(config)
    except NotInstalledError as error:
        sys.exit(str(error))
    os.execv(words[0], words)  # noqa: S606


if __name__ == "__main__":
    main()
