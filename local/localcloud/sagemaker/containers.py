"""The ``/opt/ml`` contract in a directory of its own: what a SageMaker container finds and where it leaves its results.

The base directory is exported as ``SAGEMAKER_BASE_DIR``; a request's paths under ``/opt/ml`` lie in it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from localcloud.storage.lake_directory import LakeDirectory, LakeError

_OPT_ML: Final = "/opt/ml"


class DataError(RuntimeError):
    """Input that cannot be fetched, or a request that names impossible data."""


def inside(base: Path, path: str) -> Path:
    """The place of a container path under ``base``; raises :class:`DataError` when it is not below ``/opt/ml``."""
    relative = path.removeprefix(_OPT_ML).lstrip("/")
    if not path.startswith(_OPT_ML) or ".." in relative.split("/"):
        raise DataError(f"local path {path!r} is not below {_OPT_ML}")
    return base / relative


def fetch(lake: LakeDirectory, uri: str, data_type: str, directory: Path) -> None:
    """Fetch an input: ``S3Prefix`` (an object or a prefix) or ``ManifestFile`` (a JSON list of keys)."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        if data_type == "ManifestFile":
            _fetch_manifest(lake, uri, directory)
        else:
            lake.download_prefix(uri, directory)
    except LakeError as error:
        raise DataError(f"Data download failed: {error}") from error


def _fetch_manifest(lake: LakeDirectory, uri: str, directory: Path) -> None:
    path = lake.path(uri)
    if not path.is_file():
        raise DataError(f"Data download failed: no manifest at {uri}")
    try:
        head, *entries = json.loads(path.read_text(encoding="utf-8"))
        prefix = head["prefix"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{uri} is no S3 manifest: a JSON list, first {{"prefix": ...}}, then keys') from error
    for entry in entries:
        lake.download(prefix + entry, directory / entry)


def prepare(base: Path, *directories: str) -> None:
    """Make the directories that every container finds."""
    for name in directories:
        (base / name).mkdir(parents=True, exist_ok=True)


def write_config(base: Path, name: str, value: Any) -> None:
    """Write a JSON document that the container reads."""
    path = base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, default=str), encoding="utf-8")


def text_of(path: Path, limit: int = 1024) -> str:
    """A short message that the container may have written; empty when it did not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()[:limit]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def pack(directory: Path, archive: Path) -> bool:
    """Pack a directory's content to a ``.tar.gz``; returns whether there was any."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    with tarfile.open(archive, "w:gz") as tar:
        for path in files:
            tar.add(path, arcname=path.relative_to(directory).as_posix())
    return bool(files)


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a model archive; raises :class:`DataError` when it is broken or would leave ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(directory, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"Failed to extract model data archive: {error}") from error


def entry_point(specification: Mapping[str, Any], default: Sequence[str]) -> tuple[str, ...]:
    """The command of a job: its entry point or the image's own, then its arguments."""
    words = tuple(specification.get("ContainerEntrypoint") or default)
    if not words:
        raise DataError("the request gives no ContainerEntrypoint and the image has no default command")
    return (*words, *(specification.get("ContainerArguments") or ()))
