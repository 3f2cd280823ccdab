"""### Backfill of ranking features

**What.** Computes the features of a range of hours, one EMR range step per group, checks them, and brings the last
hour online. The same code and SQL as the hourly run: an hour computed here has the digest that the hourly run would
have left, and late events make a new revision of it here as there.

**When.** By hand, from the form: after history landed, or after a definition changed.

**Reads.** `s3://<lake>/raw/events/` of the range and the seven days before it, `raw/cdc/{ads,sellers}/`.

**Writes.** `features/<group>/dt=/hr=/rev=NNN/` of every hour in the range · `validation/` · the online stores
(newer values win).

**Owner.** data-platform.

**When it fails.** Every task is safe to clear. A failed range step leaves no half-written partition visible; clearing
computes all of them again to the same content.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, TaskGroup

from adrank.contracts import registry
from adrank.contracts.settings import load
from adrank_airflow.operators.emr_spark_step import EmrSparkStepOperator
from adrank_airflow.tenancy import access, task_defaults

SETTINGS = load()
START = "{{ params.start }}"
END = "{{ params.end }}"
LAST_HOUR = "{{ (macros.datetime.fromisoformat(params.end) - macros.timedelta(hours=1)).isoformat() }}"

with DAG(
    dag_id="ranking_backfill",
    description="A range of hours: features offline -> validated -> last hour online",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=24),
    default_args=task_defaults(SETTINGS, owner="data-platform"),
    access_control=access(SETTINGS),
    params={
        "start": Param(type="string", format="date-time", description="First hour, e.g. 2026-01-01T00:00:00+00:00"),
        "end": Param(type="string", format="date-time", description="End of the last hour (exclusive)"),
    },
    tags=["adrank", "features", "manual", "oncall:retry-safe"],
) as dag:
    with TaskGroup("compute", tooltip="One EMR range step per feature group") as compute:
        for group in registry.load().groups:
            EmrSparkStepOperator(
                task_id=group.name,
                entry_point="compute_features.py",
                sql=f"features/{group.name}.sql",
                arguments=["--group", group.name, "--start", START, "--end", END, *SETTINGS.cdc.history_arguments()],
            )

    validate = EmrSparkStepOperator(
        task_id="validate",
        entry_point="validate_features.py",
        arguments=["--start", START, "--end", END],
    )

    with TaskGroup("push", tooltip="The last hour, to the online stores") as push:
        for store in ("redis", "dynamodb"):
            EmrSparkStepOperator(
                task_id=store,
                entry_point="push_features.py",
                arguments=["--store", store, "--hour", LAST_HOUR, *SETTINGS.online.arguments(SETTINGS.region)],
            )

    compute >> validate >> push
