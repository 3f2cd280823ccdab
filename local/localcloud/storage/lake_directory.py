"""S3 locations as paths: the lake directory holds one sub-directory for each bucket.

Writers never leave half an object: bytes go to a hidden sibling that is renamed over the key.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from localcloud.storage.walk import STAGED, walk


class LakeError(RuntimeError):
    """A location that is not in the lake."""


@dataclass(frozen=True)
class LakeDirectory:
    """The directory of buckets."""

    root: Path

    def path(self, uri: str) -> Path:
        """The path of ``s3://bucket/key``, whether or not it exists. A key may not leave its bucket."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme not in ("s3", "s3a", "s3n") or not bucket or ".." in rest.split("/"):
            raise LakeError(f"{uri!r} is no S3 location")
        return self.root / bucket / key

    def download(self, uri: str, target: Path) -> Path:
        """Copy one object to the path ``target``; raises :class:`LakeError` when there is none."""
        source = self.path(uri)
        if not source.is_file():
            raise LakeError(f"no object at {uri}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target

    def download_prefix(self, uri: str, directory: Path) -> int:
        """Copy the object, or everything under the prefix, into ``directory`` as SageMaker does; returns the count."""
        if not uri.endswith("/") and self.path(uri).is_file():
            self.download(uri, directory / uri.rsplit("/", 1)[-1])
            return 1
        base = uri.rstrip("/") + "/"
        count = 0
        for key, _ in walk(self.path(base)):
            self.download(base + key, directory / key)
            count += 1
        if not count:
            raise LakeError(f"no S3 objects found under S3 URL {uri}")
        return count

    def upload(self, source: Path, uri: str) -> None:
        """Copy a file to an object, whole or not at all."""
        target = self.path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f"{STAGED}{uuid.uuid4().hex}")
        shutil.copyfile(source, staged)
        staged.replace(target)

    def upload_directory(self, source: Path, uri: str) -> None:
        """Copy every file under ``source`` below the prefix ``uri``, names with a leading underscore last."""
        files = [path for path in source.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name.startswith("_"), path)):
            self.upload(path, f"{uri.rstrip('/')}/{path.relative_to(source).as_posix()}")
