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
from typing import Final

from pydantic import Field

from adrank.contracts import lake
from adrank.contracts.base import FrozenModel
from adrank.contracts.timestamps import floor_day
from adrank.storage.documents import VersionedDocument
from adrank.storage.object_store import ConflictError, ObjectStore, ObjectStoreError, Version

TTL: Final = timedelta(seconds=60)
WAIT: Final = timedelta(minutes=45)
_POLL_INTERVAL: Final = timedelta(seconds=2)
# Object stores tell times in whole seconds: an age may look this much higher than it is.
_ROUNDING: Final = timedelta(seconds=1)
_RENEWALS_PER_TTL: Final = 4

logger = logging.getLogger(__name__)


class LeaseHeldError(RuntimeError):
    """Somebody else held the lease for longer than we would wait."""


class LeaseLostError(RuntimeError):
    """Somebody took the lease over: what was done under it must not be published."""


class LeaseRecord(FrozenModel):
    """What a lease object says. Every version differs from every other, so that its ETag names it."""

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


@dataclass
class _HeldLease:
    """One day's lease as its holder last wrote it."""

    document: VersionedDocument[LeaseRecord]
    record: LeaseRecord

    def renew(self, *, released: bool = False) -> None:
        """Write it over its last version; :class:`ConflictError` when somebody else has written it since."""
        record = self.record.model_copy(update={"serial": self.record.serial + 1, "released": released})
        self.document.save(record)
        self.record = record


class Lease:
    """The leases of one group's days, held together. Build it with :func:`hold`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._held: list[_HeldLease] = []
        self._lost: LeaseLostError | None = None
        self._one_at_a_time = threading.Lock()

    def require_held(self) -> None:
        """Renew now: nobody can take over for a whole ``ttl`` from here. :class:`LeaseLostError` if somebody did."""
        with self._one_at_a_time:
            if self._lost is None:
                for held in self._held:
                    self._renew(held)
            if self._lost is not None:
                raise self._lost

    def _add(self, held: _HeldLease) -> None:
        with self._one_at_a_time:
            self._held.append(held)

    def release(self) -> None:
        """Let others in at once; a lease that cannot be released expires."""
        with self._one_at_a_time:
            for held in self._held:
                try:
                    self._renew(held, released=True)
                except Exception:
                    logger.warning("%s was not released and expires by itself", held.document.key, exc_info=True)

    def _renew(self, held: _HeldLease, *, released: bool = False) -> None:
        try:
            held.renew(released=released)
        except ConflictError:
            record = held.record
            current = VersionedDocument.open(self._store, held.document.key, LeaseRecord).current
            by = f"is {current.owner}'s now" if current else "is gone"
            self._lost = LeaseLostError(
                f"the lease of {record.group} on {record.day:%Y-%m-%d} {by}: {record.owner} was silent "
                f"for longer than {record.ttl_seconds:g} s, or a retry of it took over"
            )


@contextmanager
def hold(
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
    store = ObjectStore.connect(bucket, region=region, connect_timeout=5, read_timeout=10)
    holder = uuid.uuid4().hex
    deadline = time.monotonic() + wait.total_seconds()
    lease = Lease(store)
    stop = threading.Event()
    renewals = threading.Thread(
        target=_renew_until, args=(stop, lease, ttl / _RENEWALS_PER_TTL), name="lease", daemon=True
    )
    renewals.start()
    try:
        for day in sorted({floor_day(day) for day in days}):
            wanted = LeaseRecord(
                group=group, day=day, owner=owner or holder, holder=holder, ttl_seconds=ttl.total_seconds()
            )
            lease._add(_acquire(store, wanted, deadline))
        yield lease
    finally:
        stop.set()
        renewals.join()
        lease.release()


def _acquire(store: ObjectStore, wanted: LeaseRecord, deadline: float) -> _HeldLease:
    key = lake.lease(wanted.group, wanted.day)
    is_reported = False
    while True:
        document = VersionedDocument.open(store, key, LeaseRecord)
        holding, version = document.current, document.found
        if holding is None or version is None or _is_free(holding, version, wanted):
            try:
                document.save(wanted)
            except ConflictError:
                continue
            return _HeldLease(document, wanted)
        if not is_reported:
            logger.warning("waiting for s3://%s/%s, which %s holds", store.bucket, key, holding.owner)
            is_reported = True
        left = deadline - time.monotonic()
        if left <= 0:
            raise LeaseHeldError(
                f"{wanted.group} on {wanted.day:%Y-%m-%d} is leased to {holding.owner} until "
                f"{_expiry(holding, version).isoformat()} unless renewed (s3://{store.bucket}/{key})"
            )
        # Jitter, or all who wait would ask and collide at the same moments.
        pause = min(_POLL_INTERVAL, holding.ttl).total_seconds() * random.uniform(0.5, 1.5)  # noqa: S311
        time.sleep(min(left, pause))


def _is_free(holding: LeaseRecord, version: Version, wanted: LeaseRecord) -> bool:
    return holding.released or holding.owner == wanted.owner or version.now >= _expiry(holding, version)


def _expiry(holding: LeaseRecord, version: Version) -> datetime:
    return version.last_modified + holding.ttl + _ROUNDING


def _renew_until(stop: threading.Event, lease: Lease, interval: timedelta) -> None:
    while not stop.wait(interval.total_seconds()):
        try:
            lease.require_held()
        except LeaseLostError as error:
            logger.error("%s", error)
            return
        except ObjectStoreError as error:
            # Whether it is still ours, the next conditional put will tell.
            logger.warning("a lease could not be renewed: %s", error)
