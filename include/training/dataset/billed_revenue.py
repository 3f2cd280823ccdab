"""What was billed, as of a time: from landed exports to the revenue that counts for each answer.

Of each day the newest revision that had landed by then is read, and of it the one file that its manifest names; a
later one does not exist yet. Amounts of an event are added up as decimals, so that neither order nor number of files
changes a sum.

An answer that was never billed earned nothing once it is mature and *every* day from its own to the one in which it
matured has landed. A night that is missing, say in quarantine, keeps the provisional figures of what it may have
billed; so does a log from before the exports began, and a lake without any.

What was billed for an event that the log does not know as an answer earns nobody anything, so it is counted apart.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
from pydantic import ValidationError

from adrank.contracts.manifests import BillingManifest
from adrank.contracts.settings import Billing
from adrank.contracts.timestamps import DAY, EPOCH
from adrank.runtime import sagemaker_job
from training.dataset import duckdb_sql

MATURITY: Final = Billing().maturity
_log = logging.getLogger(__name__)
_COLUMNS: Final = "{event_id: 'VARCHAR', billed_at: 'TIMESTAMPTZ', amount: 'DECIMAL(18, 6)', currency: 'VARCHAR'}"


class BillingFilesError(sagemaker_job.JobError):
    """Landed billing that contradicts itself."""


class Unmatched(NamedTuple):
    """Billed events that are no answer of the log, and what they were billed in all."""

    events: int
    revenue: float


def read(connection: duckdb.DuckDBPyConnection, billing: Path | None, as_of: datetime) -> None:
    """Create tables ``billing_rows``, ``billed`` and ``billing_days`` from manifests and the files that they name.

    :raises BillingFilesError: a file is not what its manifest says, or currencies are mixed
    """
    visible = _visible(billing, as_of) if billing else {}
    currencies = sorted({manifest.currency for manifest in visible.values() if manifest.currency})
    if len(currencies) > 1:
        raise BillingFilesError(f"billing is in {' and '.join(currencies)}; amounts of one currency can be added up")
    files = [_data_file(path, manifest) for path, manifest in visible.items()]
    if files:
        options = "header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', parallel = false"
        source = f"read_csv({duckdb_sql.file_list(files)}, columns = {_COLUMNS}, {options})"
        rows = f"SELECT event_id, billed_at, amount FROM {source}"  # noqa: S608
    else:
        rows = duckdb_sql.empty({"event_id": "VARCHAR", "billed_at": "TIMESTAMPTZ", "amount": "DECIMAL(18, 6)"})
    with duckdb_sql.reading("billing", BillingFilesError):
        duckdb_sql.create_table(connection, "billing_rows", rows)
    events = duckdb_sql.create_table(connection, "billed", duckdb_sql.statement("billing/billed"))
    _create_days(connection, sorted(manifest.day for manifest in visible.values()))
    _log.info("billing as of %s: %d events in %d daily exports", as_of.isoformat(), events, len(files))


def supersede(connection: duckdb.DuckDBPyConnection, source: str, target: str, maturity: timedelta) -> None:
    """Create table ``target``: a relation with the revenue that counts, and how sure that is in ``revenue_state``."""
    query = duckdb_sql.statement("billing/superseded", source=source)
    duckdb_sql.create_table(connection, target, query, {"billing_maturity_us": maturity // timedelta(microseconds=1)})


def unmatched(connection: duckdb.DuckDBPyConnection, source: str, start_us: int, maturity: timedelta) -> Unmatched:
    """What was billed in the window that begins at ``start_us``, and supersedes no answer of ``source``.

    An event that may be from before the window, or before the log, is left out. One that is from before it counts only
    where its amount is raised, longer than the maturity after the window began, and all its earlier rows are not read.
    """
    parameters = {"start_us": start_us, "billing_maturity_us": maturity // timedelta(microseconds=1)}
    query = duckdb_sql.statement("billing/unmatched", source=source)
    found = Unmatched(*connection.execute(query, parameters).fetchall()[0])
    if found.events:
        _log.warning("%d events were billed %.2f and match no answer of the log", *found)
    return found


def _visible(billing: Path, as_of: datetime) -> Mapping[Path, BillingManifest]:
    newest: dict[datetime, tuple[Path, BillingManifest]] = {}
    for path in sorted(billing.rglob("_MANIFEST*.json")):
        try:
            manifest = BillingManifest.model_validate_json(path.read_bytes())
        except ValidationError as broken:
            raise BillingFilesError(f"{path} is no billing manifest: {broken}") from broken
        earlier = newest.get(manifest.day)
        if manifest.landed_at <= as_of and (earlier is None or manifest.revision > earlier[1].revision):
            newest[manifest.day] = (path, manifest)
    return dict(newest[day] for day in sorted(newest))


def _data_file(path: Path, manifest: BillingManifest) -> Path:
    file = path.parent / manifest.file.name
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as broken:
        raise BillingFilesError(f"{path} names {manifest.file.name}, which cannot be read: {broken}") from broken
    if found != manifest.file.sha256:
        raise BillingFilesError(f"{file} is not the file that {path.name} names: its SHA-256 is {found[:12]}")
    return file


def _create_days(connection: duckdb.DuckDBPyConnection, days: Iterable[datetime]) -> None:
    """Every landed day (days since the epoch), and the end of the unbroken run of days that it is in."""
    connection.execute("CREATE OR REPLACE TEMP TABLE billing_days (day BIGINT, covered_until_us BIGINT)")
    numbers = [(day - EPOCH) // DAY for day in days]
    # Within an unbroken run, number and place in the list differ by the same.
    for _, run in groupby(enumerate(numbers), key=lambda placed: placed[1] - placed[0]):
        unbroken = [number for _, number in run]
        until = (unbroken[-1] + 1) * (DAY // timedelta(microseconds=1))
        connection.executemany("INSERT INTO billing_days VALUES (?, ?)", [(day, until) for day in unbroken])
