"""What a Spark step consists of, whoever submits it: the published library, an entry point, its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adrank.contracts import lake
from adrank.contracts.settings import Lake


def library(settings: Lake) -> str:
    """URI of the ``adrank`` package for ``--py-files``."""
    return lake.uri(settings.bucket, f"{settings.code_prefix}/adrank.zip")


def application(settings: Lake, entry_point: str) -> str:
    """URI of a file under ``<code prefix>/spark/``."""
    return lake.uri(settings.bucket, f"{settings.code_prefix}/spark/{entry_point}")


def arguments(
    settings: Lake, given: Sequence[str], hours: Mapping[str, str] | None, sql: str | None, owner: str | None
) -> list[str]:
    """The entry point's command line: bucket, what was given, range of hours, query under ``<code prefix>/sql/``, owner
    of the leases that it takes."""
    covered = ["--start", hours["start"], "--end", hours["end"]] if hours else []
    query = ["--sql", lake.uri(settings.bucket, f"{settings.code_prefix}/sql/{sql}")] if sql else []
    owned = ["--owner", owner] if owner else []
    return ["--bucket", settings.bucket, *given, *covered, *query, *owned]
