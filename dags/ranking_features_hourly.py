"""### Hourly ranking features

**What.** Turns one closed hour of raw events into features of ads and sellers, checks them, and brings them online.
Hours before it that late events have changed since are computed again first, as new revisions. Last, a sample is read
back from the online stores and held against the lake. All of it is one Spark application, the step of `run_features`;
the tasks behind it show what came of each of its parts.

**When.** Every hour, for the hour that just ended (`[data_interval_start, data_interval_end)`), with catch-up: a
missed hour is made up in order, one run at a time.

**Reads.** `s3://<lake>/raw/events/dt=/hr=/` and `raw/cdc/{ads,sellers}/dt=/hr=/` (once each has its `_MANIFEST.json`).

**Writes.** `features/<group>/dt=/hr=/rev=NNN/` with manifest and content digest · `validation/dt=/hr=/`
· Redis keys `f:<group>:<ad>` · DynamoDB items `<group>#<seller>` · `online/<store>/dt=/hr=/_MANIFEST.json`
· `audit/dt=/hr=/results.json` and CloudWatch metrics in `adrank/features` · `reports/features/dt=/hr=/<run>.json`.

**Owner.** data-platform. Running an hour again leaves the same content and the same online values: what is whole is not
computed twice; after late events it leaves what training has seen and adds a revision.

**When it fails.** `wait_for_raw_hour`: the archiver or the change data capture has not closed the hour; look there, not
here. `run_features`: the parts that failed are red behind it, each with its reason, and the step's own log lines are in
this task's log; once the cause is gone, clear `run_features` with what is downstream of it. `compute.<group>`: the
other groups are whole and will not be computed again. `validate`: nothing was pushed, the stores still serve the
previous hour; the reason names group, expectation and value, and the task's link leads to the Data Docs.
`push.<store>`: newer values win. `audit`: a store did not answer; the features are online all the same. Skew does not
fail it: training refuses above the limit.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, TaskGroup

from adrank.contracts import registry
from adrank.contracts.settings import load
from adrank_airflow.dag_defaults import access_control, task_defaults
from adrank_airflow.operators.features.hourly_features import (
    FeaturePartOperator,
    HourlyFeaturesOperator,
    ValidationPartOperator,
)
from adrank_airflow.sensors.lake import RawHourSensor

SETTINGS = load()
HOUR = "{{ data_interval_start.isoformat() }}"
FEATURES_ONLINE = Asset("adrank-features-online", uri=f"s3://{SETTINGS.lake.bucket}/online/")

with DAG(
    dag_id="ranking_features_hourly",
    description="Raw hour -> features offline -> validated -> online -> audited",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=SETTINGS.airflow.features_start,
    catchup=True,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=8),
    default_args=task_defaults(SETTINGS, owner="data-platform"),
    access_control=access_control(SETTINGS),
    tags=["adrank", "features", "hourly", "oncall:retry-safe"],
) as dag:
    wait_for_raw_hour = RawHourSensor(task_id="wait_for_raw_hour", at=HOUR)

    run_features = HourlyFeaturesOperator(task_id="run_features", at=HOUR, priority_weight=10)

    with TaskGroup("compute", tooltip="Each group's hour, after the earlier ones that late events changed") as compute:
        for group in registry.load().groups:
            FeaturePartOperator(task_id=group.name, at=HOUR)

    validate = ValidationPartOperator(task_id="validate", at=HOUR)

    with TaskGroup("push", tooltip="To the online stores, once all groups are valid") as push:
        for store in ("redis", "dynamodb"):
            FeaturePartOperator(task_id=store, at=HOUR)

    audit = FeaturePartOperator(task_id="audit", at=HOUR, outlets=[FEATURES_ONLINE])

    wait_for_raw_hour >> run_features >> [compute, validate, push, audit]
