"""### Nightly proof of the feature windows

**What.** Adds the hourly tiles of 28 days up again and compares every entity and column with the windows that the
hourly run carries on from hour to hour, and with the days' roll-ups. They are whole numbers: any difference is an
error.

**When.** Every night, for the UTC day that has ended, once its last hour is computed; without catch-up, because each
proof covers 28 days. By hand from the form with a `day` of the last four: older windows are not kept.

**Reads.** `windows/<group>/dt=/hr=/` of the day's last hour, `tiles/<group>/` and `rollups/<group>/` of 28 days.

**Writes.** Nothing.

**Owner.** data-platform. Safe to run at any time.

**When it fails.** `wait_for_windows`: the hourly run has not finished the day; look there, not here. `check.<group>`:
its message names entity, column and both values, or the hour without a tile. Windows and tiles can be made again from
the raw log: delete `windows/<group>/` (of the day named) or `tiles/<group>/` (of the hour named), then run
`ranking_backfill` with `recompute` from the first hour that may be wrong.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

from adrank.contracts import registry
from adrank.contracts.entry_points.features import CheckWindows
from adrank.contracts.settings import load
from adrank_airflow.dag_defaults import DATE, DAY, access_control, task_defaults
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from adrank_airflow.sensors.lake import WindowsReadySensor

SETTINGS = load()

with DAG(
    dag_id="ranking_features_nightly",
    description="Windows and roll-ups are what the hourly tiles add up to",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(SETTINGS.airflow.features_check_cron, timezone="UTC"),
    start_date=SETTINGS.airflow.features_start,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=task_defaults(SETTINGS, owner="data-platform"),
    access_control=access_control(SETTINGS),
    params={"day": Param(default=None, type=["null", "string"], format="date", description="UTC day to look at")},
    tags=["adrank", "features", "nightly", "oncall:next-working-day"],
) as dag:
    wait_for_windows = WindowsReadySensor(task_id="wait_for_windows", at=DAY)

    with TaskGroup("check", tooltip="One EMR step per group that counts events") as check:
        for group in registry.load().with_input("events"):
            EmrSparkStepOperator(
                task_id=group.name,
                entry_point=CheckWindows,
                values={"group": group.name, "day": DATE},
            )

    wait_for_windows >> check
