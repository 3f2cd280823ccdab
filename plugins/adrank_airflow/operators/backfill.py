"""Plan what a backfill has to compute of one feature group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from pydantic import ValidationError

from adrank.contracts import registry
from adrank.contracts.settings import Settings
from adrank.decisions import backfill, lateness
from adrank.decisions.backfill import Asked, Chunk
from adrank.decisions.lateness import RawLog
from adrank_airflow.hooks.lake import LakeHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanChunksOperator(BaseOperator):
    """Return the chunks of the form's range that a group lacks, ``[{"start": ISO, "end": ISO}, ...]``, in order.

    Chunks that are whole are left out, so that a backfill that broke off goes on where it was, unless the form says
    ``recompute``; a chunk of which late events have outdated an hour is not whole. Of a group that the form leaves out
    there is nothing to do.

    :param group: the feature group.
    """

    def __init__(self, *, settings: Settings, group: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.group = group

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Read the form and, of the manifests of the group and the raw log, what is there."""
        try:
            asked = Asked.model_validate(dict(context["params"]))
        except ValidationError as error:
            raise AirflowFailException(f"the form cannot be used: {error}") from error
        todo = self.todo(asked)
        for chunk in todo:
            self.log.info("%s: %s to %s", self.group, chunk.start.isoformat(), chunk.end.isoformat())
        return [{"start": chunk.start.isoformat(), "end": chunk.end.isoformat()} for chunk in todo]

    def todo(self, asked: Asked) -> list[Chunk]:
        """The chunks to compute."""
        if self.group not in asked.groups:
            self.log.info("%s was not asked for", self.group)
            return []
        planned = backfill.chunks(asked)
        if asked.recompute:
            return planned
        settings, group = self.settings, registry.load().group(self.group)
        hook = LakeHook(settings.lake.bucket, settings.tenancy.aws_conn_id, settings.region)
        there = hook.feature_manifests(group, asked.start, asked.end)
        log = RawLog.of(hook.raw_manifests(lateness.reach_start(asked.start), asked.end))
        todo = backfill.unfinished(group, planned, there, log)
        self.log.info("%s: %d of %d chunk(s) are whole", self.group, len(planned) - len(todo), len(planned))
        return todo
