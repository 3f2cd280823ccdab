"""Where everything lies in the lake: the only place that spells a prefix.

Each data set is a constant of the shape that it has; keys without a shape in common are functions at the end. Keys
are relative to the lake bucket; :func:`uri` makes them absolute. ``dt``/``hr`` name the *start* of an hour in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar
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


def run_key(as_of: datetime) -> str:
    """The weekly run's key: its ``as_of`` to the second, sortable and legal in every AWS name."""
    return as_utc(as_of).strftime("%Y%m%dT%H%M%SZ")


@dataclass(frozen=True)
class Daily:
    """A folder for each UTC day; where a manifest makes it ready, the copies of its revisions are kept beside it."""

    prefix: str

    def day(self, day: datetime) -> str:
        """Prefix of a day."""
        return f"{self.prefix}{day_partition(day)}/"

    def manifest(self, day: datetime) -> str:
        """Key of the manifest of a day."""
        return self.day(day) + MANIFEST

    def manifest_revision(self, day: datetime, revision: int) -> str:
        """Key of the kept copy of one revision of the manifest."""
        return f"{self.day(day)}_MANIFEST.rev={revision:03d}.json"


@dataclass(frozen=True)
class DailyFile:
    """One object for each UTC day."""

    prefix: str
    name: str

    def key(self, day: datetime) -> str:
        """Key of a day's object."""
        return f"{self.prefix}{day_partition(day)}/{self.name}"


@dataclass(frozen=True)
class _Hours:
    prefix: str

    def day(self, day: datetime) -> str:
        """Prefix of the hours of a day."""
        return f"{self.prefix}{day_partition(day)}/"

    def hour(self, hour: datetime) -> str:
        """Prefix of an hour."""
        return f"{self.prefix}{hour_partition(hour)}/"


class Hourly(_Hours):
    """A folder for each hour; where a manifest makes it ready, the copies of its revisions are kept beside it."""

    def manifest(self, hour: datetime) -> str:
        """Key of the manifest of an hour."""
        return self.hour(hour) + MANIFEST

    def manifest_revision(self, hour: datetime, revision: int) -> str:
        """Key of the kept copy of one revision of the manifest."""
        return f"{self.hour(hour)}_MANIFEST.rev={revision:03d}.json"


class Revisioned(_Hours):
    """A folder for each revision of each hour, which the manifest in it makes visible."""

    def revision(self, hour: datetime, revision: int) -> str:
        """Prefix of one revision."""
        return f"{self.hour(hour)}rev={revision:03d}/"

    def manifest(self, hour: datetime, revision: int = 0) -> str:
        """Key of the manifest of one revision."""
        return self.revision(hour, revision) + MANIFEST


Shape = TypeVar("Shape")


@dataclass(frozen=True)
class Family(Generic[Shape]):
    """Data sets of one shape, one for each table, feature group or store: ``FEATURES("ads").hour(hour)``."""

    prefix: str
    shape: Callable[[str], Shape]

    def __call__(self, name: str) -> Shape:
        """The data set of ``name``."""
        return self.shape(f"{self.prefix}{name}/")


@dataclass(frozen=True)
class Named:
    """One key or prefix for each run, digest, topic or slot: its name, or a template of it, stands where ``{}`` is."""

    pattern: str

    def of(self, name: str) -> str:
        """The key or prefix of ``name``."""
        return self.pattern.format(name)


#: Events of the raw log. The manifest makes an hour ready.
RAW_EVENTS: Final = Hourly("raw/events/")
#: Messages that could not become events, by the hour in which they were refused.
RAW_DEAD_LETTER: Final = Hourly("raw/dead-letter/")
#: Events that were refused, each with its ``reason``.
RAW_REJECTED: Final = Hourly("raw/rejected/")
#: How far the hours of a Kafka topic are closed.
ARCHIVER_HOURS: Final = Named("raw/checkpoints/{}/hours.json")

#: Debezium envelopes (JSON lines) of ``ads`` or ``sellers``. The manifest says that every change of the hour landed.
RAW_CDC: Final = Family("raw/cdc/", Hourly)
#: What the capture processes have landed so far, one object for each replication slot.
CDC_CHECKPOINTS: Final = "raw/checkpoints/cdc/"
CDC_CHECKPOINT: Final = Named(CDC_CHECKPOINTS + "{}.json")
#: Snapshots of ``ads`` or ``sellers`` as a UTC day began.
CATALOGUE: Final = Family("catalogue/", Daily)

#: Where the billing system delivers a day's export and, last, the export's control total.
BILLING_INBOX: Final = Daily("inbox/billing/")
BILLING_EXPORT: Final = DailyFile(BILLING_INBOX.prefix, "export.csv")
BILLING_CONTROL: Final = DailyFile(BILLING_INBOX.prefix, "control.json")
#: Billing exports that landed. The manifest names the day's valid one.
RAW_BILLING: Final = Daily("raw/billing/")
#: Billing exports that were refused whole, each beside its reason.
BILLING_QUARANTINE: Final = Daily("quarantine/billing/")
#: What became of a day's export when it was last looked at.
BILLING_VERDICT: Final = DailyFile("verdicts/billing/", "verdict.json")

#: What a feature group counted in an hour, by the revision of the raw hour that it was counted from.
TILES: Final = Family("tiles/", Revisioned)
#: Sums of a day's tiles of a group.
ROLLUPS: Final = Family("rollups/", Daily)
#: A group's windows as they stood at the end of an hour.
WINDOWS: Final = Family("windows/", Hourly)
#: What a day of the log says about how often each position is looked at.
EXAMINATION: Final = DailyFile("examination/", "clicks.json")
#: Feature partitions of a group.
FEATURES: Final = Family("features/", Revisioned)
#: Great Expectations results.
VALIDATION: Final = Hourly("validation/")
#: What an hour pushed to ``redis`` or ``dynamodb``: a manifest alone.
PUSHES: Final = Family("online/", Hourly)
#: Sampled stored rows that endpoints served for requests of an hour of event time (JSON lines).
SERVED_ROWS: Final = Hourly("served/")

#: A model package that was registered, by its digest, and its golden requests.
MODEL_PACKAGE: Final = Named("models/{}/model.tar.gz")
GOLDEN_REQUESTS: Final = Named("models/{}/" + packages.GOLDEN)
#: Manifests that name what a weekly run trains on. A run is given by its :func:`run_key`.
TRAINING_INPUTS: Final = Named("training/{}/inputs/")
#: A run's training set.
TRAINING_SET: Final = Named("training/{}/training_set/")
#: Where a run's training jobs leave their packages.
TRAINED_MODELS: Final = Named("training/{}/model/")
#: What the gate judges.
GATE_EVIDENCE: Final = Named("training/{}/evidence/")
#: What a person approved, or did not, and on which evidence.
APPROVAL: Final = Named("training/{}/approval/")
#: How a run ended.
RUN_REPORT: Final = Named("training/{}/report.json")


def archiver_checkpoint(topic: str, partition: int) -> str:
    """Key of what the archiver of one Kafka partition has landed so far."""
    return f"raw/checkpoints/{topic}/{partition:05d}.json"


def catalogue_claim(table: str, day: datetime, attempt: str) -> str:
    """Key of one attempt's claim that its snapshot holds: there before the attempt reads any change data, deleted by
    whoever lands a change of an hour before the day.
    """
    return f"{CATALOGUE(table).day(day)}{CLAIM}{attempt}"


def billing_verdicts(date: str) -> str:
    """Prefix of what became of one day's export. ``date`` is ``YYYY-MM-DD``, or a template of it."""
    return f"{BILLING_VERDICT.prefix}dt={date}/"


def feature_run(hour: datetime, run_id: str) -> str:
    """Key of what one run has done for an hour's features, part by part."""
    return f"reports/features/{hour_partition(hour)}/{segment(run_id)}.json"


def lease(group: str, day: datetime) -> str:
    """Key of who may write a group's feature partitions of one UTC day, and of what they are made from."""
    return f"leases/features/{group}/{day_partition(day)}.json"


def validation_run(hour: datetime, run_id: str) -> str:
    """Prefix of what one run found that validated hours up to ``hour``: results, Data Docs."""
    return f"{VALIDATION.hour(hour)}runs/{segment(run_id)}/"


def data_docs(hour: datetime, run_id: str) -> str:
    """Prefix of the Data Docs of :func:`validation_run`; they begin with ``index.html``."""
    return f"{validation_run(hour, run_id)}docs/"


def audit(hour: datetime) -> str:
    """Key of what an hour's audit found when it read the online stores back."""
    return f"audit/{hour_partition(hour)}/results.json"


def experiment_look(experiment_id: str, look: int) -> str:
    """Prefix of one look at an experiment: its inputs, statistics and verdict."""
    return f"experiments/{experiment_id}/look={look:03d}/"
