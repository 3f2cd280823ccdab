"""### Hourly ranking features

**What.** Turns one closed hour of raw events into features of ads and sellers, checks them, and brings them online.
Hours before it that late events have changed since are computed again first, as new revisions. Last, a sample is read
back from the online stores and held against the lake.

**When.** Every hour, for the hour that just ended (`[data_interval_start, data_interval_end)`), with catch-up: a
missed hour is made up in order, one run at a time.

**Reads.** `s3://<lake>/raw/events/dt=/hr=/` and `raw/cdc/{ads,sellers}/dt=/hr=/` (once each has its `_MANIFEST.json`).

**Writes.** `features/<group>/dt=/hr=/rev=NNN/` with manifest and content digest · `validation/dt=/hr=/`
· Redis keys `f:<group>:<ad>` · DynamoDB items `<group>#<seller>` · `online/<store>/dt=/hr=/_MANIFEST.json`
· `audit/dt=/hr=/results.json` and CloudWatch metrics in `adrank/features`.

**Owner.** data-platform. Running an hour again leaves the same content and the same online values; after late events
it leaves what training has seen and adds a revision.

**When it fails.** `wait_for_raw_hour`: the archiver or the change data capture has not closed the hour; look there, not
here. `revise.*` and `compute.*`: the step's own log lines are in the task log; clear the task once the cause is gone.
`validate`: nothing was pushed, the stores still serve the previous hour; the log names group, expectation and value,
and the task's link leads to the Data Docs. `push.*`: safe to clear, newer values win. `audit`: a store did not answer;
the features are online all the same. Skew does not fail it: training refuses above the limit.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, TaskGroup

from adrank.contracts import registry
from adrank.contracts.settings import load
from adrank_airflow.operators.emr_spark_step import EmrSparkStepOperator
from adrank_airflow.operators.late_hours import FindLateHoursOperator, range_of, since
from adrank_airflow.operators.validation import ValidateFeaturesOperator
from adrank_airflow.sensors.lake_ready import RawHourSensor
from adrank_airflow.tenancy import access, task_defaults

SETTINGS = load()
HOUR = "{{ data_interval_start.isoformat() }}"
END = "{{ data_interval_end.isoformat() }}"
HISTORY = SETTINGS.cdc.history_arguments()
FEATURES_ONLINE = Asset("adrank-features-online", uri=f"s3://{SETTINGS.lake.bucket}/online/")

with DAG(
    dag_id="ranking_features_hourly",
    description="Raw hour -> features offline -> validated -> online -> audited",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=SETTINGS.tenancy.features_start,
    catchup=True,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=8),
    default_args=task_defaults(SETTINGS, owner="data-platform"),
    access_control=access(SETTINGS),
    tags=["adrank", "features", "hourly", "oncall:retry-safe"],
) as dag:
    wait_for_raw_hour = RawHourSensor(task_id="wait_for_raw_hour", hour=HOUR)

    fed_by_events = registry.load().reading("events")
    find_late_hours = FindLateHoursOperator(
        task_id="find_late_hours",
        hour=HOUR,
        revisions={group.name: f"revise.{group.name}" for group in fed_by_events},
    )

    with TaskGroup("revise", tooltip="Earlier hours that late events changed, as new revisions") as revise:
        for group in fed_by_events:
            EmrSparkStepOperator(
                task_id=group.name,
                entry_point="compute_features.py",
                sql=f"features/{group.name}.sql",
                arguments=["--group", group.name, *range_of("find_late_hours", group.name), "--revise", *HISTORY],
                leased=True,
                priority_weight=10,
            )

    with TaskGroup("compute", tooltip="One EMR step per feature group") as compute:
        for group in registry.load().groups:
            EmrSparkStepOperator(
                task_id=group.name,
                entry_point="compute_features.py",
                sql=f"features/{group.name}.sql",
                arguments=["--group", group.name, "--start", HOUR, "--end", END, *HISTORY],
                leased=True,
                priority_weight=10,
                trigger_rule="none_failed",  # mostly nothing is late, and the revisions are skipped
            )

    validate = ValidateFeaturesOperator(
        task_id="validate", start=HOUR, end=END, revised_from=since("find_late_hours", otherwise=HOUR)
    )

    with TaskGroup("push", tooltip="To the online stores") as push:
        for store in ("redis", "dynamodb"):
            EmrSparkStepOperator(
                task_id=store,
                entry_point="push_features.py",
                arguments=["--store", store, "--hour", HOUR, *SETTINGS.online.arguments(SETTINGS.region)],
                outlets=[FEATURES_ONLINE],
            )

    audit = EmrSparkStepOperator(
        task_id="audit",
        entry_point="audit_features.py",
        arguments=["--hour", HOUR, *SETTINGS.online.arguments(SETTINGS.region), *SETTINGS.audit.arguments()],
    )

    wait_for_raw_hour >> find_late_hours >> revise >> compute >> validate >> push >> audit
