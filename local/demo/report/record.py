"""Everything that one demo saw, as plain values: summary and report are functions of it and of nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

StageState = Literal["success", "skipped", "failed"]

#: Stages in the order in which they happen.
OWN_STAGES: Final = ("stack", "history", "ingestion", "billing", "incumbent", "history_features", "hourly_features")
WEEKLY_STAGES: Final = ("prepare", "train", "gate", "register", "staging", "ab_test", "approval", "production")
STAGES: Final = (*OWN_STAGES, *WEEKLY_STAGES)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Record):
    """One stage; ``started`` and ``ended`` are null when it never began.

    ``cpu_seconds``: of all processes of stack and demo meanwhile. ``waited_for``: the tasks that took longest, with the
    seconds that each was queued, running, deferred, asking or due for a retry.
    """

    name: str
    state: StageState
    started: datetime | None = None
    ended: datetime | None = None
    cpu_seconds: float = 0.0
    waited_for: dict[str, dict[str, float]] = {}

    @property
    def seconds(self) -> float:
        """How long it took; 0 when it never began."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else 0.0


class Task(_Record):
    """The last try of one Airflow task instance; ``state`` is Airflow's."""

    dag_id: str
    run_id: str
    task_id: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    try_number: int = 1
    operator: str = ""
    map_index: int = Field(default=-1, description="which of a mapped task's instances; -1: it is not mapped")

    @property
    def instance(self) -> str:
        """Its id, with its number where it is one of many."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    @property
    def group(self) -> str:
        """The task group, or the task itself where it stands alone."""
        return self.task_id.split(".", 1)[0]

    @property
    def name(self) -> str:
        """Its name within the group."""
        return self.task_id.rsplit(".", 1)[-1]


class Source(_Record):
    """Where history came from. ``text`` is what summary.json says; ``facts`` are shown in the report."""

    text: str
    own_logs: bool
    start: datetime
    end: datetime
    facts: dict[str, str] = {}


class Features(_Record):
    """What the feature runs left behind: whole hours and rows offline, entries online."""

    hours: int
    offline_rows: int
    redis_keys: int
    dynamodb_items: int


class Fold(_Record):
    """One expanding by-time fold: NDCG@10 of the model and of the order in which the log showed the ads."""

    name: str
    ndcg_at_10: float
    logged_order_ndcg_at_10: float


class Training(_Record):
    """The trained model's figures; the two headline NDCGs are of the same by-time test fold."""

    train_rows: int
    queries: int
    mlflow_run_id: str
    ndcg_at_10: float
    logged_order_ndcg_at_10: float
    folds: tuple[Fold, ...] = ()
    importance: dict[str, float] = {}


class Gate(_Record):
    """The offline verdict."""

    verdict: str
    reasons: tuple[str, ...]


class Registry(_Record):
    """The registered version, and where every alias points at the end."""

    name: str
    version: str
    aliases: dict[str, str]


class Interval(_Record):
    """A relative lift with its always-valid bounds; null bounds are unbounded."""

    lift: float | None
    lower: float | None
    upper: float | None


class Look(_Record):
    """What one look of the experiment showed, by metric."""

    number: int
    elapsed_hours: float
    verdict: str
    lifts: dict[str, Interval]

    def closed_interval(self, metric: str) -> tuple[float, float, float] | None:
        """A metric's lift, lower and upper bound; None unless all of them are known."""
        found = self.lifts.get(metric)
        if found is None or found.lift is None or found.lower is None or found.upper is None:
            return None
        return found.lift, found.lower, found.upper


class Experiment(_Record):
    """The A/B test."""

    experiment_id: str
    primary_metric: str
    share: float
    verdict: str
    reasons: tuple[str, ...]
    users: dict[str, int]
    looks: tuple[Look, ...]


class Approval(_Record):
    """Who decided what about which package; ``body`` is what they were shown."""

    decision: str
    by: str | None
    at: datetime | None
    package_digest: str
    report_digest: str
    body: str


class TrafficSecond(_Record):
    """Requests that were answered in one second of wall time, by model version, and those that failed."""

    at: datetime
    answered: dict[str, int]
    failed: int = Field(default=0, ge=0)

    @property
    def requests(self) -> int:
        """All requests of the second."""
        return sum(self.answered.values()) + self.failed


class TrafficTotals(_Record):
    """Live traffic as a whole. Speeds are event seconds per wall second: the wanted one, and the one in effect.

    ``held_seconds``: wall time for which the event clock was held because the archiver was behind.
    """

    requests: int
    failed_requests: int
    speed: float
    effective_speed: float
    held_seconds: float


class Production(_Record):
    """The shift: from its start to the end of verification."""

    endpoint_config: str | None
    package_digest: str
    verified: bool
    started: datetime
    ended: datetime


class WeeklyResults(_Record):
    """What one weekly run came to. A part is null where it did not get there."""

    training: Training | None = None
    gate: Gate | None = None
    registry: Registry | None = None
    experiment: Experiment | None = None
    approval: Approval | None = None
    production: Production | None = None


class DemoRecord(WeeklyResults):
    """One demo, whole or as far as it came. A part is null when its stage was skipped or not reached."""

    source: Source
    began: datetime
    ended: datetime
    stages: tuple[Stage, ...]
    tasks: tuple[Task, ...] = ()
    features: Features | None = None
    traffic: tuple[TrafficSecond, ...] = ()
    traffic_totals: TrafficTotals | None = None
    failure: str = ""
    addresses: str = ""


def group_state(states: list[str]) -> StageState:
    """A task group's state from its tasks': what could not run because something before it failed was skipped."""
    if "failed" in states:
        return "failed"
    if "upstream_failed" in states:
        return "skipped"
    return "success" if "success" in states else "skipped"


def group_stage(name: str, tasks: list[Task]) -> Stage:
    """A task group as a stage: from the first start to the last end of its tasks that ran."""
    ran = [task for task in tasks if task.state in ("success", "failed") and task.started and task.ended]
    return Stage(
        name=name,
        state=group_state([task.state for task in tasks]),
        started=min((task.started for task in ran if task.started), default=None),
        ended=max((task.ended for task in ran if task.ended), default=None),
    )
