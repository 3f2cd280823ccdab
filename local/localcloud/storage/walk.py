"""A bucket's directory in S3's key order, reading no directory that a listing does not need.

S3 orders keys by their UTF-8 bytes, which is how Python orders strings.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

STAGED: Final = ".tmp."
_TEMPORARY: Final = ("_temporary", ".spark-staging")

Found = tuple[str, os.DirEntry[str] | None]
"""A key and its file, or a common prefix and None."""


def is_hidden(name: str) -> bool:
    """Whether a file or directory of that name is work in progress, so no object of the bucket."""
    return name.startswith((STAGED, ".nanio", *_TEMPORARY)) or name.endswith(".crc")


def walk(bucket_dir: Path, prefix: str = "", *, after: str = "", folded: bool = False) -> Iterator[Found]:
    """What starts with ``prefix`` and comes behind ``after``.

    ``folded``: what has a further slash behind the prefix is one common prefix, which is not walked.
    """
    *parts, _ = prefix.split("/")
    directory = bucket_dir
    for part in parts:
        directory = directory / part
        if part in ("", ".", "..") or is_hidden(part) or not _is_directory(directory):
            return
    yield from _walk(str(directory), "".join(f"{part}/" for part in parts), prefix, after, folded)


def _walk(directory: str, parent: str, prefix: str, after: str, folded: bool) -> Iterator[Found]:
    for name, entry in _sorted_entries(directory):
        key = parent + name
        if not key.startswith(prefix):
            continue
        if not name.endswith("/"):
            if key > after:
                yield key, entry
        elif folded:
            if key > after and next(_walk(entry.path, key, "", "", False), None):
                yield key, None
        elif key > after or after.startswith(key):
            yield from _walk(entry.path, key, prefix, after, False)


def _sorted_entries(directory: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Names that are no work in progress; a directory's has the slash that its keys have, and sorts with it."""
    try:
        with os.scandir(directory) as entries:
            named = [
                (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                for entry in entries
                if not is_hidden(entry.name)
            ]
    except FileNotFoundError:
        return []
    return sorted(named, key=lambda pair: pair[0])


def _is_directory(path: Path) -> bool:
    """Whether it is one itself, not a link that leads out of the bucket."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
