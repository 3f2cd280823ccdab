"""What a Spark step consists of, whoever submits it: the published library, an entry point, its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adrank.contracts import lake
from adrank.contracts.settings import Lake

#: Names a task's Spark work: the same for every try, and for no other work that may be under way. One of many mapped
#: over ranges of hours is told by its range, which stays what it was when another plan numbers them differently.
STEP_NAME: Final = (
    "{{ dag.dag_id }}.{{ task.task_id }} {{ run_id }}{% if task.hours %} {{ task.hours['start'] }}{% endif %}"
)


def py_files(settings: Lake) -> str:
    """URI of the ``adrank`` package for ``--py-files``."""
    return lake.uri(settings.bucket, f"{settings.code_prefix}/adrank.zip")


def entry_point_uri(settings: Lake, entry_point: str) -> str:
    """URI of a file under ``<code prefix>/spark/``."""
    return lake.uri(settings.bucket, f"{settings.code_prefix}/spark/{entry_point}")


def command_line(
    settings: Lake, arguments: Sequence[str], hours: Mapping[str, Any] | None, queries: bool, owner: str | None
) -> list[str]:
    """The entry point's command line: bucket, its own arguments, range of hours with its groups, where the published
    queries are, owner of the leases that it takes."""
    range_of_hours = ["--start", hours["start"], "--end", hours["end"]] if hours else []
    groups = [word for group in (hours or {}).get("groups", ()) for word in ("--group", group)]
    published = ["--queries", lake.uri(settings.bucket, f"{settings.code_prefix}/sql")] if queries else []
    leases = ["--owner", owner] if owner else []
    return ["--bucket", settings.bucket, *arguments, *range_of_hours, *groups, *published, *leases]
