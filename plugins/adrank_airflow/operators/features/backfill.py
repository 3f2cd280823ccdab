"""Plan what a backfill has to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException
from pydantic import ValidationError

from adrank.contracts import registry
from adrank.contracts.registry import FeatureGroup
from adrank.decisions import backfill, lateness
from adrank.decisions.backfill import BackfillRequest, Chunk
from adrank.decisions.lateness import RawLog
from adrank_airflow.base import AdrankTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanChunksOperator(AdrankTask):
    """Return the chunks of the form's range that a group lacks, ``[{"start": ISO, "end": ISO, "groups": [...]}, ...]``,
    in order, each with the groups that lack it.

    Chunks that are whole are left out, so that a backfill that broke off goes on where it was, unless the form says
    ``recompute``; a chunk of which late events have outdated an hour is not whole. Of a group that the form leaves out
    there is nothing to do.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read the form and, of the manifests of the groups and the raw log, what is there."""
        try:
            request = BackfillRequest.model_validate(dict(context["params"]))
        except ValidationError as error:
            raise AirflowFailException(f"the form cannot be used: {error}") from error
        chunks = backfill.side_by_side(self._chunks_to_compute(request))
        for chunk in chunks:
            self.log.info("%s to %s: %s", chunk.start.isoformat(), chunk.end.isoformat(), ", ".join(chunk.groups))
        return [
            {"start": chunk.start.isoformat(), "end": chunk.end.isoformat(), "groups": list(chunk.groups)}
            for chunk in chunks
        ]

    def _chunks_to_compute(self, request: BackfillRequest) -> dict[str, list[Chunk]]:
        """Group -> the chunks to compute."""
        planned = backfill.chunks(request)
        groups = [group for group in registry.load().groups if group.name in request.groups]
        if request.recompute:
            return {group.name: planned for group in groups}
        log = RawLog.of(self.lake.raw_manifests(lateness.horizon_start(request.start), request.end))

        def incomplete(group: FeatureGroup) -> list[Chunk]:
            manifests = self.lake.feature_manifests(group, request.start, request.end)
            found = backfill.incomplete_chunks(group, planned, manifests, log)
            self.log.info("%s: %d of %d chunk(s) are whole", group.name, len(planned) - len(found), len(planned))
            return found

        return {group.name: incomplete(group) for group in groups}
