"""Plan what a backfill has to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from pydantic import ValidationError

from adrank.contracts import registry
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.settings import Settings
from adrank.decisions import backfill, lateness
from adrank.decisions.backfill import BackfillRequest, Chunk
from adrank.decisions.lateness import RawLog
from adrank_airflow.hooks.lake import LakeHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanChunksOperator(BaseOperator):
    """Return the chunks of the form's range that a group lacks, ``[{"start": ISO, "end": ISO, "groups": [...]}, ...]``,
    in order, each with the groups that lack it.

    Chunks that are whole are left out, so that a backfill that broke off goes on where it was, unless the form says
    ``recompute``; a chunk of which late events have outdated an hour is not whole. Of a group that the form leaves out
    there is nothing to do.
    """

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read the form and, of the manifests of the groups and the raw log, what is there."""
        try:
            asked = BackfillRequest.model_validate(dict(context["params"]))
        except ValidationError as error:
            raise AirflowFailException(f"the form cannot be used: {error}") from error
        todo = backfill.side_by_side(self._lacking(asked))
        for chunk in todo:
            self.log.info("%s to %s: %s", chunk.start.isoformat(), chunk.end.isoformat(), ", ".join(chunk.groups))
        return [
            {"start": chunk.start.isoformat(), "end": chunk.end.isoformat(), "groups": list(chunk.groups)}
            for chunk in todo
        ]

    def _lacking(self, asked: BackfillRequest) -> dict[str, list[Chunk]]:
        """Group -> the chunks to compute."""
        planned = backfill.chunks(asked)
        groups = [group for group in registry.load().groups if group.name in asked.groups]
        if asked.recompute:
            return {group.name: planned for group in groups}
        settings = self.settings
        hook = LakeHook(settings.lake.bucket, settings.airflow.aws_conn_id, settings.region)
        log = RawLog.of(hook.raw_manifests(lateness.horizon_start(asked.start), asked.end))

        def lacking(group: FeatureGroup) -> list[Chunk]:
            there = hook.feature_manifests(group, asked.start, asked.end)
            todo = backfill.unfinished(group, planned, there, log)
            self.log.info("%s: %d of %d chunk(s) are whole", group.name, len(planned) - len(todo), len(planned))
            return todo

        return {group.name: lacking(group) for group in groups}
