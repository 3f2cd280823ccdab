"""Tasks that tell a program, which runs elsewhere, what its declared command line takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.contracts.settings import Settings
from adrank_airflow.base import AdrankTask


class EntryPointTask(AdrankTask):
    """Tells ``entry_point`` the ``values`` and what settings decide.

    A name that the program does not have fails when the DAG is parsed, that of a mapped task too.

    :param entry_point: the program's declaration.
    :param values: what it is told, by field; templates stand as they are.
    """

    def __init__(
        self, *, settings: Settings, entry_point: type[EntryPointArguments], values: Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(settings=settings, **kwargs)
        self.entry_point = entry_point
        self.arguments = entry_point.command_line(**values, **entry_point.from_settings(settings))

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """A mapped task, whose ``__init__`` Airflow puts off until it runs."""
        if "entry_point" in kwargs:
            kwargs["entry_point"].command_line(**kwargs["values"])
        return super().partial(**kwargs)
