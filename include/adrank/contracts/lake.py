"""Where everything lies in the lake: the only place that spells a prefix.

Keys are relative to the lake bucket; :func:`uri` makes them absolute. ``dt``/``hr`` name the *start* of an hour in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from adrank.contracts import packages
from adrank.contracts.timestamps import as_utc

MANIFEST: Final = "_MANIFEST.json"
CLAIM: Final = "_CLAIM."


def day_of(prefix: str) -> datetime:
    """The UTC day of a prefix that ends in ``dt=YYYY-MM-DD/``."""
    return datetime.strptime(prefix.rstrip("/").rsplit("/", 1)[-1], "dt=%Y-%m-%d").replace(tzinfo=UTC)


def hour_of(prefix: str) -> datetime:
    """The hour of a prefix that ends in ``dt=YYYY-MM-DD/hr=HH/``."""
    day, hour = prefix.rstrip("/").rsplit("/", 2)[-2:]
    return datetime.strptime(f"{day}/{hour}", "dt=%Y-%m-%d/hr=%H").replace(tzinfo=UTC)


def day_partition(day: datetime) -> str:
    """``dt=YYYY-MM-DD``."""
    return as_utc(day).strftime("dt=%Y-%m-%d")


def hour_partition(hour: datetime) -> str:
    """``dt=YYYY-MM-DD/hr=HH``."""
    return as_utc(hour).strftime("dt=%Y-%m-%d/hr=%H")


def segment(name: str) -> str:
    """Any name as one segment of a key, legal in every file system: ``~`` and two digits stand for other characters."""
    return quote(name, safe="").replace("~", "%7E").replace("%", "~")


def uri(bucket: str, key: str) -> str:
    """``s3://bucket/key``."""
    return f"s3://{bucket}/{key}"


def raw_events_days() -> str:
    """Prefix of the days of the raw log."""
    return "raw/events/"


def raw_events_day(day: datetime) -> str:
    """Prefix of the raw hours of one UTC day."""
    return f"{raw_events_days()}{day_partition(day)}/"


def raw_events(hour: datetime) -> str:
    """Prefix of one raw hour of events."""
    return f"{raw_events_days()}{hour_partition(hour)}/"


def raw_events_manifest(hour: datetime) -> str:
    """Key whose existence makes the raw hour ready."""
    return raw_events(hour) + MANIFEST


def raw_events_revision(hour: datetime, revision: int) -> str:
    """Key of the kept copy of one revision of a raw hour's manifest."""
    return f"{raw_events(hour)}_MANIFEST.rev={revision:03d}.json"


def raw_dead_letter(hour: datetime) -> str:
    """Prefix of the messages that could not become events, by the hour in which they were refused."""
    return f"raw/dead-letter/{hour_partition(hour)}/"


def archiver_checkpoint(topic: str, partition: int) -> str:
    """Key of what the archiver of one Kafka partition has landed so far."""
    return f"raw/checkpoints/{topic}/{partition:05d}.json"


def archiver_hours(topic: str) -> str:
    """Key of how far the hours of a Kafka topic are closed."""
    return f"raw/checkpoints/{topic}/hours.json"


def raw_rejected(hour: datetime) -> str:
    """Prefix of the events of one hour that were refused, each with its ``reason``."""
    return f"raw/rejected/{hour_partition(hour)}/"


def raw_cdc_table(table: str) -> str:
    """Prefix of all change data of ``ads`` or ``sellers``."""
    return f"raw/cdc/{table}/"


def raw_cdc(table: str, hour: datetime) -> str:
    """Prefix of one hour of Debezium envelopes (JSON lines) of ``ads`` or ``sellers``."""
    return f"{raw_cdc_table(table)}{hour_partition(hour)}/"


def raw_cdc_manifest(table: str, hour: datetime) -> str:
    """Key whose existence says that every change of that hour has landed."""
    return raw_cdc(table, hour) + MANIFEST


def cdc_checkpoints() -> str:
    """Prefix of what the capture processes have landed so far, one object for each slot."""
    return "raw/checkpoints/cdc/"


def cdc_checkpoint(slot: str) -> str:
    """Key of what the capture process of one replication slot has landed so far."""
    return f"{cdc_checkpoints()}{slot}.json"


def catalogue_table(table: str) -> str:
    """Prefix of the snapshots of ``ads`` or ``sellers``."""
    return f"catalogue/{table}/"


def catalogue(table: str, day: datetime) -> str:
    """Prefix of a table's snapshot as one UTC day began."""
    return f"{catalogue_table(table)}{day_partition(day)}/"


def catalogue_manifest(table: str, day: datetime) -> str:
    """Key of the manifest of the day's snapshot."""
    return catalogue(table, day) + MANIFEST


def catalogue_claim(table: str, day: datetime, attempt: str) -> str:
    """Key of one attempt's claim that its snapshot holds: there before the attempt reads any change data, deleted by
    whoever lands a change of an hour before the day.
    """
    return f"{catalogue(table, day)}{CLAIM}{attempt}"


def raw_billing_days() -> str:
    """Prefix of the days that billing exports landed for."""
    return "raw/billing/"


def raw_billing(day: datetime) -> str:
    """Prefix of one day's billing exports."""
    return f"{raw_billing_days()}{day_partition(day)}/"


def raw_billing_manifest(day: datetime) -> str:
    """Key of the manifest that names the day's valid export."""
    return raw_billing(day) + MANIFEST


def raw_billing_revision(day: datetime, revision: int) -> str:
    """Key of the kept copy of one revision of a day's billing manifest."""
    return f"{raw_billing(day)}_MANIFEST.rev={revision:03d}.json"


def billing_inbox_days() -> str:
    """Prefix of the days that the billing system delivered exports of."""
    return "inbox/billing/"


def billing_inbox(day: datetime) -> str:
    """Prefix to which the billing system delivers one day's export and its control total."""
    return f"{billing_inbox_days()}{day_partition(day)}/"


def billing_export(day: datetime) -> str:
    """Key of one day's delivered export."""
    return f"{billing_inbox(day)}export.csv"


def billing_control(day: datetime) -> str:
    """Key of the control total of one day's delivered export, which the billing system writes last."""
    return f"{billing_inbox(day)}control.json"


def billing_quarantine_days() -> str:
    """Prefix of the days of which an export was refused."""
    return "quarantine/billing/"


def billing_quarantine(day: datetime) -> str:
    """Prefix of the exports that were refused whole, each beside its reason."""
    return f"{billing_quarantine_days()}{day_partition(day)}/"


def billing_verdicts(date: str) -> str:
    """Prefix of what became of one day's export. ``date`` is ``YYYY-MM-DD``, or a template of it."""
    return f"verdicts/billing/dt={date}/"


def billing_verdict(day: datetime) -> str:
    """Key of what became of one day's export when it was last looked at."""
    return f"{billing_verdicts(as_utc(day).strftime('%Y-%m-%d'))}verdict.json"


def tiles_of(group: str) -> str:
    """Prefix of all tiles of a feature group."""
    return f"tiles/{group}/"


def tiles_hour(group: str, hour: datetime) -> str:
    """Prefix of all revisions of what a feature group counted in one hour."""
    return f"{tiles_of(group)}{hour_partition(hour)}/"


def tiles(group: str, hour: datetime, revision: int = 0) -> str:
    """Prefix of a group's tile of one hour, counted from that revision of the raw hour."""
    return f"{tiles_hour(group, hour)}rev={revision:03d}/"


def rollups_of(group: str) -> str:
    """Prefix of all sums of days of a group."""
    return f"rollups/{group}/"


def rollup(group: str, day: datetime) -> str:
    """Prefix of the sum of a day's tiles."""
    return f"{rollups_of(group)}{day_partition(day)}/"


def all_windows(group: str) -> str:
    """Prefix of all windows that are kept of a group."""
    return f"windows/{group}/"


def windows(group: str, hour: datetime) -> str:
    """Prefix of a group's windows as they stood at the end of one hour."""
    return f"{all_windows(group)}{hour_partition(hour)}/"


def examination(day: datetime) -> str:
    """Key of what one day of the log says about how often each position is looked at."""
    return f"examination/{day_partition(day)}/clicks.json"


def features_of(group: str) -> str:
    """Prefix of all feature partitions of a group."""
    return f"features/{group}/"


def features_day(group: str, day: datetime) -> str:
    """Prefix of all feature partitions of the UTC day that holds ``day``."""
    return f"{features_of(group)}{day_partition(day)}/"


def features_hour(group: str, hour: datetime) -> str:
    """Prefix of all revisions of one feature partition."""
    return f"{features_of(group)}{hour_partition(hour)}/"


def features(group: str, hour: datetime, revision: int = 0) -> str:
    """Prefix of one revision of one feature partition."""
    return f"{features_hour(group, hour)}rev={revision:03d}/"


def features_manifest(group: str, hour: datetime, revision: int = 0) -> str:
    """Key of the manifest that makes the feature partition visible."""
    return features(group, hour, revision) + MANIFEST


def feature_run(hour: datetime, run_id: str) -> str:
    """Key of what one run has done for an hour's features, part by part."""
    return f"reports/features/{hour_partition(hour)}/{segment(run_id)}.json"


def validation(hour: datetime) -> str:
    """Prefix of the Great Expectations results of one hour."""
    return f"validation/{hour_partition(hour)}/"


def validation_run(hour: datetime, run_id: str) -> str:
    """Prefix of what one run found that validated hours up to ``hour``: results, Data Docs."""
    return f"{validation(hour)}runs/{segment(run_id)}/"


def data_docs(hour: datetime, run_id: str) -> str:
    """Prefix of the Data Docs of :func:`validation_run`; they begin with ``index.html``."""
    return f"{validation_run(hour, run_id)}docs/"


def push_manifest(store: str, hour: datetime) -> str:
    """Key of the record of what an hour pushed to ``redis`` or ``dynamodb``."""
    return f"online/{store}/{hour_partition(hour)}/{MANIFEST}"


def audit(hour: datetime) -> str:
    """Key of what an hour's audit found when it read the online stores back."""
    return f"audit/{hour_partition(hour)}/results.json"


def served(hour: datetime) -> str:
    """Prefix of the sampled stored rows that endpoints served for requests of one hour of event time (JSON lines)."""
    return f"served/{hour_partition(hour)}/"


def model_package(digest: str) -> str:
    """Key of a model package that was registered."""
    return f"models/{digest}/model.tar.gz"


def golden_requests(digest: str) -> str:
    """Key of the golden requests of a package that was registered."""
    return f"models/{digest}/{packages.GOLDEN}"


def training_run(run: str) -> str:
    """Prefix of everything one weekly run writes; ``run`` is its :func:`run_key`, or a template of it."""
    return f"training/{run}/"


def run_key(as_of: datetime) -> str:
    """The weekly run's key: its ``as_of`` to the second, sortable and legal in every AWS name."""
    return as_utc(as_of).strftime("%Y%m%dT%H%M%SZ")


def training_inputs(run: str) -> str:
    """Prefix of the manifests that name what a run trains on."""
    return f"{training_run(run)}inputs/"


def training_set(run: str) -> str:
    """Prefix of a run's training set."""
    return f"{training_run(run)}training_set/"


def trained_models(run: str) -> str:
    """Prefix under which a run's training jobs leave their packages."""
    return f"{training_run(run)}model/"


def gate_evidence(run: str) -> str:
    """Prefix of what the gate judges."""
    return f"{training_run(run)}evidence/"


def approval(run: str) -> str:
    """Prefix of what a person approved, or did not, and on which evidence."""
    return f"{training_run(run)}approval/"


def run_report(run: str) -> str:
    """Key of how a run ended."""
    return f"{training_run(run)}report.json"


def experiment(experiment_id: str) -> str:
    """Prefix of an experiment's looks and verdict."""
    return f"experiments/{experiment_id}/"


def experiment_look(experiment_id: str, look: int) -> str:
    """Prefix of one look at an experiment: its inputs, statistics and verdict."""
    return f"{experiment(experiment_id)}look={look:03d}/"


def lease(group: str, day: datetime) -> str:
    """Key of who may write a group's feature partitions of one UTC day, and of what they are made from."""
    return f"leases/features/{group}/{day_partition(day)}.json"
