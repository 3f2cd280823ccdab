"""Leases: who may write a feature group's partitions of a UTC day, so that an hour and a backfill never write at once.

A lease is one small object in the lake, only ever written over the version that its writer saw last (conditional put).
Its holder renews it from a thread. One that nobody renewed for its ``ttl`` is a dead holder's and may be taken over;
its age is told by the object store's clock alone, so the nodes' clocks need not agree. Whoever was taken over while it
slept finds out at :meth:`Lease.require_held`, which belongs right before what makes its work visible.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from adrank.contracts import lake
from adrank.contracts.timestamps import floor_day

TTL: Final = timedelta(seconds=60)
WAIT: Final = timedelta(minutes=45)
_POLL_INTERVAL: Final = timedelta(seconds=2)
# Object stores tell times in whole seconds: an age may look this much higher than it is.
_ROUNDING: Final = timedelta(seconds=1)
_RENEWALS_PER_TTL: Final = 4
_CONFLICTS: Final = ("PreconditionFailed", "ConditionalRequestConflict")
_GONE: Final = ("NoSuchKey", "404")

logger = logging.getLogger(__name__)


class LeaseHeldError(RuntimeError):
    """Somebody else held the lease for longer than we would wait."""


class LeaseLostError(RuntimeError):
    """Somebody took the lease over: what was done under it must not be published."""


class LeaseRecord(BaseModel):
    """What a lease object says. Every version differs from every other, so that its ETag names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    day: datetime
    owner: str
    holder: str = Field(description="random, one for each process that ever held it")
    ttl_seconds: float = Field(gt=0)
    serial: int = Field(default=0, ge=0, description="renewals by this holder")
    released: bool = False

    @property
    def ttl(self) -> timedelta:
        """How long the lease lives without renewal."""
        return timedelta(seconds=self.ttl_seconds)


@dataclass(frozen=True)
class _Version:
    """One version of a lease object. ``written`` and ``now`` are the store's own times."""

    record: LeaseRecord
    etag: str
    written: datetime
    now: datetime

    @property
    def expires(self) -> datetime:
        return self.written + self.record.ttl + _ROUNDING


class _ConflictError(Exception):
    """The object is not the version that we saw last."""


class _Store:
    """Lease objects of one bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def find(self, key: str) -> _Version | None:
        from botocore.exceptions import ClientError

        try:
            found = self._client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise
        return _Version(
            record=LeaseRecord.model_validate_json(found["Body"].read()),
            etag=found["ETag"],
            written=found["LastModified"],
            now=parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"]),
        )

    def put(self, key: str, record: LeaseRecord, etag: str | None) -> str:
        """Write over the version ``etag`` (None: where none is); a write whose answer was lost counts as done."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        body = record.model_dump_json(indent=1).encode()
        try:
            done = self._client.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in (*_CONFLICTS, *_GONE):
                raise
            there = self.find(key)
            if there is not None and there.record == record:
                return there.etag
            raise _ConflictError(key) from error
        return str(done["ETag"])


@dataclass
class _HeldLease:
    """One day's lease as its holder last wrote it."""

    key: str
    record: LeaseRecord
    etag: str


class Lease:
    """The leases of one group's days, held together. Build it with :func:`held`."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self._grips: list[_HeldLease] = []
        self._lost: LeaseLostError | None = None
        self._one_at_a_time = threading.Lock()

    def require_held(self) -> None:
        """Renew now: nobody can take over for a whole ``ttl`` from here. :class:`LeaseLostError` if somebody did."""
        with self._one_at_a_time:
            if self._lost is None:
                for grip in self._grips:
                    self._write_over(grip, released=False)
            if self._lost is not None:
                raise self._lost

    def _add(self, grip: _HeldLease) -> None:
        with self._one_at_a_time:
            self._grips.append(grip)

    def _release(self) -> None:
        """Let others in at once; a lease that cannot be released expires."""
        with self._one_at_a_time:
            for grip in self._grips:
                try:
                    self._write_over(grip, released=True)
                except Exception:
                    logger.warning("%s was not released and expires by itself", grip.key, exc_info=True)

    def _write_over(self, grip: _HeldLease, *, released: bool) -> None:
        record = grip.record.model_copy(update={"serial": grip.record.serial + 1, "released": released})
        try:
            grip.etag = self._store.put(grip.key, record, grip.etag)
            grip.record = record
        except _ConflictError:
            there = self._store.find(grip.key)
            by = f"is {there.record.owner}'s now" if there else "is gone"
            self._lost = LeaseLostError(
                f"the lease of {grip.record.group} on {grip.record.day:%Y-%m-%d} {by}: {grip.record.owner} was silent "
                f"for longer than {grip.record.ttl_seconds:g} s, or a retry of it took over"
            )


@contextmanager
def held(
    *,
    bucket: str,
    group: str,
    days: Iterable[datetime],
    owner: str | None,
    region: str | None = None,
    ttl: timedelta = TTL,
    wait: timedelta = WAIT,
) -> Iterator[Lease]:
    """Hold the leases of a feature group's UTC days for the time of the block.

    Days are taken in order whoever asks, so two that want the same days never wait for each other.

    Who asks under the ``owner`` that holds a lease gets it at once, because an owner names work of which there is never
    more than one live copy: a step's name, under which the operator looks for a live step before it submits. Asking
    again thus means that the earlier copy is dead, and waiting for its lease to expire would only cost time. Where a
    dead submitter may leave its work running, each try must have an owner of its own; None is nobody else's.

    :param days: moments in the days, in any order.
    :param ttl: a holder that is silent for longer is taken for dead.
    :param wait: how long to wait for all of them together, before :class:`LeaseHeldError`.
    """
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=10)
    store = _Store(boto3.client("s3", region_name=region, config=config), bucket)
    holder = uuid.uuid4().hex
    deadline = time.monotonic() + wait.total_seconds()
    lease = Lease(store)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(lease, ttl / _RENEWALS_PER_TTL, stop), name="lease", daemon=True)
    beat.start()
    try:
        for day in sorted({floor_day(day) for day in days}):
            wanted = LeaseRecord(
                group=group, day=day, owner=owner or holder, holder=holder, ttl_seconds=ttl.total_seconds()
            )
            lease._add(_take(store, wanted, deadline))
        yield lease
    finally:
        stop.set()
        beat.join()
        lease._release()


def _take(store: _Store, wanted: LeaseRecord, deadline: float) -> _HeldLease:
    key = lake.lease(wanted.group, wanted.day)
    said = False
    while True:
        there = store.find(key)
        if there is None or _is_free(there, wanted):
            try:
                return _HeldLease(key, wanted, store.put(key, wanted, there.etag if there else None))
            except _ConflictError:
                continue
        if not said:
            logger.warning("waiting for s3://%s/%s, which %s holds", store.bucket, key, there.record.owner)
            said = True
        left = deadline - time.monotonic()
        if left <= 0:
            raise LeaseHeldError(
                f"{wanted.group} on {wanted.day:%Y-%m-%d} is leased to {there.record.owner} until "
                f"{there.expires.isoformat()} unless renewed (s3://{store.bucket}/{key})"
            )
        # Jitter, or all who wait would ask and collide at the same moments.
        pause = min(_POLL_INTERVAL, there.record.ttl).total_seconds() * random.uniform(0.5, 1.5)  # noqa: S311
        time.sleep(min(left, pause))


def _is_free(there: _Version, wanted: LeaseRecord) -> bool:
    return there.record.released or there.record.owner == wanted.owner or there.now >= there.expires


def _beat(lease: Lease, every: timedelta, stop: threading.Event) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    while not stop.wait(every.total_seconds()):
        try:
            lease.require_held()
        except LeaseLostError as error:
            logger.error("%s", error)
            return
        except (BotoCoreError, ClientError) as error:
            # Whether it is still ours, the next conditional put will tell.
            logger.warning("a lease could not be renewed: %s", error)
