"""### Backfill of ranking features

**What.** Computes the features of a range of hours in chunks of days, groups side by side, checks them, and brings
the last hour online. The same code and SQL as the hourly run: an hour computed here has the digest that the hourly
run would have left, and late events make a new revision of it here as there.

**When.** By hand, from the form: after history landed, or after a definition changed (then with `recompute`: what is
whole in the present layout is left alone otherwise).

**Reads.** `s3://<lake>/raw/events/` of the range and the 28 days before it, `raw/cdc/{ads,sellers}/`.

**Writes.** `features/<group>/dt=/hr=/rev=NNN/` of every hour in the range, with the tiles and windows that they are
made from · `validation/` · the online stores (newer values win).

**Owner.** data-platform. One chunk is computed at a time, each from the windows that the one before left, all groups
that lack it in one application. `engine` says where all of it runs, validation and push too: steps of the EMR
cluster, or spark-submit to the target of the Spark connection, which needs no EMR. The hourly run and a backfill
never write the same group and day at once: who comes second waits for the lease.

**When it fails.** Every task is safe to clear. The message of a failed chunk names the groups that failed; the others
of it are whole, and no half-written partition is visible. Start the same range again, in this run (clear `plan`) or
in a new one: what is whole, and no late event has outdated, is not computed twice. `validate` looks at all groups:
those that the form leaves out must have been computed before.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, TaskGroup

from adrank.contracts import registry
from adrank.contracts.entry_points.features import ComputeFeatures, PushFeatures
from adrank.contracts.settings import load
from adrank_airflow.dag_defaults import access_control, task_defaults
from adrank_airflow.operators.features.backfill import PlanChunksOperator
from adrank_airflow.operators.features.validation import SubmitValidationOperator, ValidateFeaturesOperator
from adrank_airflow.operators.jobs.emr_step import EmrSparkStepOperator
from adrank_airflow.operators.jobs.spark_submit import SparkSubmitStepOperator
from adrank_airflow.operators.verdicts import VerdictBranchOperator

SETTINGS = load()
GROUPS = [group.name for group in registry.load().groups]
START = "{{ params.start }}"
# The form may name any moment; only whole hours (UTC) are computed.
_END = (
    "macros.datetime.fromisoformat(params.end).astimezone(macros.dateutil.tz.UTC)"
    ".replace(minute=0, second=0, microsecond=0)"
)
END = f"{{{{ {_END}.isoformat() }}}}"
LAST_HOUR = f"{{{{ ({_END} - macros.timedelta(hours=1)).isoformat() }}}}"
CHUNK = "{{ task.hours['start'][:10] }} .. {{ task.hours['end'][:13] }}: {{ task.hours['groups'] | join(', ') }}"
ENGINES = {
    "emr": ("emr", EmrSparkStepOperator, ValidateFeaturesOperator),
    "spark-submit": ("spark_submit", SparkSubmitStepOperator, SubmitValidationOperator),
}

with DAG(
    dag_id="ranking_backfill",
    description="A range of hours: features offline -> validated -> last hour online",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=24),
    default_args=task_defaults(SETTINGS, owner="data-platform"),
    access_control=access_control(SETTINGS),
    params={
        "start": Param(type="string", format="date-time", description="First hour, e.g. 2026-01-01T00:00:00+00:00"),
        "end": Param(type="string", format="date-time", description="End of the last hour (exclusive)"),
        "groups": Param(
            default=GROUPS,
            type="array",
            items={"type": "string", "enum": GROUPS},
            minItems=1,
            examples=GROUPS,
            description="Feature groups to compute",
        ),
        "engine": Param(
            default="emr",
            enum=list(ENGINES),
            description=f"EMR steps, or spark-submit to the connection {SETTINGS.airflow.spark_conn_id}",
        ),
        "chunk_days": Param(default=14, type="integer", minimum=1, description="Days that one step computes"),
        "recompute": Param(default=False, type="boolean", description="Compute what is there already, too"),
    },
    tags=["adrank", "features", "manual", "oncall:retry-safe"],
) as dag:
    plan = PlanChunksOperator(task_id="plan")

    choose_engine = VerdictBranchOperator(
        task_id="choose_engine",
        verdict="{{ params.engine }}",
    )

    for engine, (task_group, step, validation) in ENGINES.items():
        with TaskGroup(task_group, tooltip=f"All of the work, by {engine}") as work:
            compute = step.partial(
                task_id="compute",
                entry_point=ComputeFeatures,
                values={"recompute": "{{ params.recompute | lower }}"},
                pool=SETTINGS.airflow.emr_pool,
                execution_timeout=SETTINGS.emr.step_timeout,
                max_active_tis_per_dagrun=1,
                map_index_template=CHUNK,
            ).expand(hours=plan.output)

            validate = validation(
                task_id="validate",
                start=START,
                end=END,
                trigger_rule="none_failed",  # what was whole already is skipped
            )

            with TaskGroup("push", tooltip="The last hour, to the online stores") as push:
                for store in ("redis", "dynamodb"):
                    step(
                        task_id=store,
                        entry_point=PushFeatures,
                        values={"store": store, "hour": LAST_HOUR},
                    )

        choose_engine.follow(work, engine)
        # Of the engine that was not chosen `validate` has to be skipped by name: it runs when all before it is skipped.
        choose_engine >> [compute, validate]
        compute >> validate >> push
