"""Find the hours whose features late events have outdated, and let only their revision run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseBranchOperator

from adrank.contracts import lake, registry
from adrank.contracts.registry import FeatureGroup
from adrank.contracts.settings import Settings
from adrank.decisions import lateness
from adrank.decisions.lateness import RawLog
from adrank_airflow.hooks.lake import LakeHook

if TYPE_CHECKING:
    from airflow.sdk import Context

LATE: Final = "late"


class FindLateHoursOperator(BaseBranchOperator):
    """Compare the raw log as it is with what the last hours' features were computed from.

    Looks as far back before ``hour`` as a late event may come. Pushes ``{"since": ISO, "groups": {group: {"start": ISO,
    "end": ISO}}}`` under the key ``late`` and follows the tasks that revise these groups; nothing late skips them all.

    :param hour: ISO start of the run's own hour, which the run computes anyway; templated.
    :param revisions: group -> directly following task that revises it.
    """

    template_fields: Sequence[str] = ("hour",)

    def __init__(self, *, settings: Settings, hour: str, revisions: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.hour = hour
        self.revisions = dict(revisions)

    def execute(self, context: Context) -> None:
        """Push what is late and skip the rest."""
        ranges = self.late()
        for group, span in ranges.items():
            self.log.info("late events outdated %s from %s to %s", group, span["start"], span["end"])
        if ranges:
            since = min(span["start"] for span in ranges.values())
            # Not returned: a task that skips others ends before Airflow would keep what it returns.
            context["ti"].xcom_push(key=LATE, value={"since": since, "groups": ranges})
        self.do_branch(context, [self.revisions[group] for group in ranges])

    def late(self) -> dict[str, dict[str, str]]:
        """Group -> first outdated hour and end of the last."""
        settings = self.settings
        hook = LakeHook(settings.lake.bucket, settings.tenancy.aws_conn_id, settings.region)
        end = lake.floor_hour(datetime.fromisoformat(self.hour))
        start = lake.floor_hour(end - settings.events.late_lookback)
        log = RawLog.of(hook.raw_manifests(lateness.reach_start(start), end))
        groups = [registry.load().group(name) for name in self.revisions]
        hours = {group.name: self._outdated(hook, group, start, end, log) for group in groups}
        return {
            name: {"start": found[0].isoformat(), "end": (found[-1] + lake.HOUR).isoformat()}
            for name, found in hours.items()
            if found
        }

    def _outdated(
        self, hook: LakeHook, group: FeatureGroup, start: datetime, end: datetime, log: RawLog
    ) -> list[datetime]:
        newest = {manifest.hour: manifest for manifest in hook.feature_manifests(group, start, end)}
        return lateness.outdated(group, newest.values(), log)


def range_of(task_id: str, group: str) -> list[str]:
    """``--start`` and ``--end`` of what a :class:`FindLateHoursOperator` found outdated of a group, as templates."""
    span = f"ti.xcom_pull(task_ids='{task_id}', key='{LATE}')['groups']['{group}']"
    return ["--start", f"{{{{ {span}['start'] }}}}", "--end", f"{{{{ {span}['end'] }}}}"]


def since(task_id: str, otherwise: str) -> str:
    """The first outdated hour of any group, as a template; where nothing was late, the template ``otherwise``."""
    late = f"ti.xcom_pull(task_ids='{task_id}', key='{LATE}')"
    return f"{{% if {late} %}}{{{{ {late}['since'] }}}}{{% else %}}{otherwise}{{% endif %}}"
