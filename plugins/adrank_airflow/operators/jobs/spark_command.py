"""What a Spark step consists of, whoever submits it: the published library, an entry point, its command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adrank.contracts import lake
from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.contracts.settings import Lake

#: Names a task's Spark work: the same for every try, and for no other work that may be under way. One of many mapped
#: over ranges of hours is told by its range, which stays what it was when another plan numbers them differently.
STEP_NAME: Final = (
    "{{ dag.dag_id }}.{{ task.task_id }} {{ run_id }}{% if task.hours %} {{ task.hours['start'] }}{% endif %}"
)


def py_files(settings: Lake) -> str:
    """URI of the ``adrank`` package for ``--py-files``."""
    return lake.uri(settings.bucket, f"{settings.code_prefix}/adrank.zip")


def entry_point_uri(settings: Lake, entry_point: type[EntryPointArguments]) -> str:
    """URI of the program below ``<code prefix>/spark/``."""
    return lake.uri(settings.bucket, f"{settings.code_prefix}/spark/{entry_point.program}")


def range_arguments(entry_point: type[EntryPointArguments], hours: Mapping[str, Any] | None, owner: str) -> list[str]:
    """What is known only when the task runs: its hours, with their groups, and the owner of leases that it takes."""
    values = {"group" if name == "groups" else name: value for name, value in (hours or {}).items()}
    if "owner" in entry_point.model_fields:
        values["owner"] = owner
    return entry_point.command_line(**values)
