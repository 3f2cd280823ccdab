"""``python -m deploy.publish``: puts the jobs' code into the lake, where EMR steps take it from.

The archive is byte-identical for the same sources, so publishing twice changes nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import boto3

from adrank.contracts import settings

_INCLUDE: Final = Path(__file__).resolve().parents[1] / "include"
# What entry points import: the library, and the packages beside it that Spark jobs share.
ARCHIVED: Final = ("adrank", "expectations", "spark")
#: The first time stamp that a zip archive can hold.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def publish(s3: Any, bucket: str, prefix: str) -> list[str]:
    """Upload archive, entry points and SQL below ``prefix``; returns the keys written."""
    written = []
    for name, body in contents(_INCLUDE):
        key = f"{prefix.rstrip('/')}/{name}"
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        written.append(key)
    return written


def contents(include: Path) -> Iterator[tuple[str, bytes]]:
    """(name below the code prefix, bytes) of everything that is published."""
    yield "adrank.zip", archive(include)
    for path in sorted((include / "spark" / "jobs").glob("[a-z]*.py")):
        yield f"spark/{path.name}", path.read_bytes()
    for path in sorted((include / "sql").rglob("*.sql")):
        yield path.relative_to(include).as_posix(), path.read_bytes()


def archive(include: Path) -> bytes:
    """The zip for ``--py-files``: sorted entries, one fixed time stamp."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for package in ARCHIVED:
            for path in sorted((include / package).rglob("*")):
                if path.suffix in (".py", ".yaml", ".json", ".sql"):
                    entry = zipfile.ZipInfo(path.relative_to(include).as_posix(), _EPOCH)
                    target.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def main() -> None:
    """Publish with the AWS access of the environment."""
    loaded = settings.load()
    s3 = boto3.client("s3", region_name=loaded.region)
    for key in publish(s3, loaded.lake.bucket, loaded.lake.code_prefix):
        print(f"s3://{loaded.lake.bucket}/{key}")


if __name__ == "__main__":
    main()
