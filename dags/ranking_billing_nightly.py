"""### Nightly billing

**What.** Lands the billing system's export of one day, the authority on revenue, after every row and the control
total were checked; a bad export goes into quarantine whole.

**When.** Every night for the day before (UTC), with catch-up, one run at a time; and by hand from the form with a
`day`.

**Reads.** `s3://<lake>/inbox/billing/dt=/export.csv` and `control.json` (which the billing system writes last).

**Writes.** `raw/billing/dt=/part-<digest>.csv` and `_MANIFEST.json`, a corrected export as the next revision, or
`quarantine/billing/dt=/<digest>/` with `reason.json` · `verdicts/billing/dt=/verdict.json`. The inbox is left alone.

**Owner.** data-platform. Landing the same export again changes nothing.

**When it fails.** `wait_for_export`: the billing system has not delivered; ask there, then clear the task.
`require_landed`: the export is in quarantine; its message names file, row and reason, and nothing of it is in the
lake. Ask the billing system for a corrected export, then clear `land_export` and what follows. Until then training
and experiments keep the provisional revenue of what that day may have billed. No task fails when a correction is
delivered after its day landed: when `adrank_billing_unsettled_days` stays above 0, compare the inbox's days with
`verdicts/billing/`, and run the DAG with the `day` or clear its `land_export`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param

from adrank.contracts import lake
from adrank.contracts.entry_points.billing import LandBilling
from adrank.contracts.settings import load
from adrank_airflow.dag_defaults import DATE, DAY, access_control, task_defaults
from adrank_airflow.operators.checks import RequireBilledDayOperator
from adrank_airflow.operators.jobs.sagemaker_job import SageMakerProcessingJobOperator
from adrank_airflow.sensors.lake import BillingExportSensor

SETTINGS = load()
BILLING = Asset("adrank-billing", uri=lake.uri(SETTINGS.lake.bucket, lake.RAW_BILLING.prefix))

with DAG(
    dag_id="ranking_billing_nightly",
    description="Billing export -> checked against its control total -> landed or quarantined",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(SETTINGS.billing.cron, timezone="UTC"),
    start_date=SETTINGS.billing.start,
    catchup=True,
    max_active_runs=1,
    dagrun_timeout=SETTINGS.billing.export_timeout + SETTINGS.sagemaker.job_timeout + timedelta(hours=1),
    default_args=task_defaults(SETTINGS, owner="data-platform"),
    access_control=access_control(SETTINGS),
    params={"day": Param(default=None, type=["null", "string"], format="date", description="UTC day to land")},
    tags=["adrank", "billing", "nightly", "oncall:retry-safe"],
) as dag:
    wait_for_export = BillingExportSensor(task_id="wait_for_export", at=DAY)

    land_export = SageMakerProcessingJobOperator(
        task_id="land_export",
        job="billing",
        as_of=DAY,
        entry_point=LandBilling,
        values={"day": DAY},
        inputs={},
        outputs={"verdict": lake.billing_verdicts(DATE)},
    )

    require_landed = RequireBilledDayOperator(task_id="require_landed", at=DAY, outlets=[BILLING])

    wait_for_export >> land_export >> require_landed
