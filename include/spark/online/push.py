"""Brings an online store to one hour: claims the store, writes from where the rows are, and says when all is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pyspark.sql import SparkSession

from adrank.contracts.manifests import FeatureManifest, PushedHour, PushedPartition
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.timestamps import HOUR
from adrank.online import push_state as states
from adrank.online.push_state import FencingToken, PushFencedError, PushPlan, StateLostError, StoreState
from adrank.online.writer import OnlineWriter, StoreAddress
from adrank.runtime.retry import RetryUntil
from spark.lake.files import LakeFiles
from spark.online import changes

_MAX_ATTEMPTS: Final = 5
_COUNTS: Final = (*changes.REASONS, "written", "refused")


@dataclass(frozen=True)
class PushResult:
    """Rows that a push wrote, by reason, and how many of them did not lose to a newer one."""

    base: datetime | None
    changed: int = 0
    refreshed: int = 0
    vanished: int = 0
    written: int = 0

    @property
    def offered(self) -> int:
        """Rows sent to the store."""
        return self.changed + self.refreshed + self.vanished


class PushIncompleteError(RuntimeError):
    """The store lost rows in each try of a push."""


def pushed_hour(hour: datetime, manifests: Iterable[FeatureManifest]) -> PushedHour:
    """What a store holds that was brought to ``hour`` from these partitions."""
    partitions = (
        PushedPartition(group=m.group, fingerprint=m.fingerprint, revision=m.revision, content_digest=m.content_digest)
        for m in manifests
    )
    return PushedHour(hour=hour, partitions=tuple(sorted(partitions, key=lambda p: p.group)))


@dataclass(frozen=True)
class Push:
    """One hour on its way to one store."""

    spark: SparkSession
    files: LakeFiles
    address: StoreAddress
    retry: RetryUntil
    groups: tuple[FeatureGroup, ...]
    manifests: Mapping[str, FeatureManifest]
    wanted: PushedHour

    def run(self, writer: OnlineWriter, *, full: bool = False) -> PushResult:
        """Write until the store holds the hour, again in full when it lost rows meanwhile.

        Raises :class:`PushFencedError` when another push began meanwhile, and :class:`PushIncompleteError` in the end.
        """
        for _ in range(_MAX_ATTEMPTS):
            began = datetime.now(UTC)
            plan, state = self._begin(writer, began, full)
            counts = self._write(plan, state)
            refused = counts.pop("refused", 0)
            if not refused and writer.swap(state, states.complete(state, self.wanted, plan, began)):
                return PushResult(base=plan.base.hour if plan.base else None, **counts)
            # A server that restarted may have come back with the state of some earlier push.
            if writer.instance() == state.instance and writer.state() is not None:
                raise PushFencedError(f"another push began while this one wrote {self.wanted.hour.isoformat()}")
            print(f"the store lost what was written to it: writing all of {self.wanted.hour.isoformat()} again")
            full = True
        raise PushIncompleteError(
            f"the store lost rows in each of {_MAX_ATTEMPTS} tries to push {self.wanted.hour.isoformat()}"
        )

    def _begin(self, writer: OnlineWriter, now: datetime, full: bool) -> tuple[PushPlan, StoreState]:
        """Claim the store."""
        ttl = timedelta(hours=min(group.ttl_hours for group in self.groups))
        while True:
            current, instance = writer.state(), writer.instance()
            if later := states.superseded_by(current, self.wanted):
                raise PushFencedError(f"the push of {later.isoformat()} began meanwhile")
            claimed = states.begin(current, self.wanted, now, instance)
            if writer.swap(current, claimed):
                return states.plan(current, self.wanted, now, ttl, full=full), claimed

    def _write(self, plan: PushPlan, state: StoreState) -> Counter[str]:
        total: Counter[str] = Counter()
        fencing_token = FencingToken(state.token, state.fence)
        as_of = self.wanted.hour + HOUR
        for group in self.groups:
            delta = changes.delta(self.files, group, self.manifests[group.name], plan)
            if delta.is_empty:
                continue
            rows = changes.rows(self.spark, self.files, delta, parallel=self.address.parallel)
            task = partition_writer(self.address, self.retry, fencing_token, group, as_of)
            schema = ", ".join(f"{name} long" for name in _COUNTS)
            for counts in rows.mapInArrow(task, schema).collect():
                total.update(counts.asDict())
            if total["refused"]:
                break
        return total


def partition_writer(
    address: StoreAddress, retry: RetryUntil, fencing_token: FencingToken, group: FeatureGroup, as_of: datetime
) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Writes the rows of one Spark partition from its executor and gives one row of counts."""

    def write(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        counts = dict.fromkeys(_COUNTS, 0)
        with ExitStack() as ends:
            writer = None
            try:
                for batch in batches:
                    if writer is None:
                        writer = address.open(retry)
                        ends.callback(writer.close)
                    counts["written"] += writer.write(fencing_token, group, as_of, batch)
                    for why in batch.column("why").value_counts().to_pylist():
                        counts[why["values"]] += why["counts"]
            except (StateLostError, PushFencedError):
                counts["refused"] = 1
        yield pa.RecordBatch.from_pylist([counts], schema=pa.schema([(name, pa.int64()) for name in _COUNTS]))

    return write
