"""A whole record of one promoted demo, small enough to check by eye."""

from datetime import UTC, datetime, timedelta

from demo.report.record import (
    WEEKLY_STAGES,
    Approval,
    DemoRecord,
    Experiment,
    Features,
    Fold,
    Gate,
    Interval,
    Look,
    Production,
    Registry,
    Source,
    Stage,
    Task,
    TrafficSecond,
    TrafficTotals,
    Training,
)

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
DIGEST = "a1" * 32
INCUMBENT = "0f" * 6


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def promoted() -> DemoRecord:
    looks = tuple(
        Look(
            number=n,
            elapsed_hours=4 * n,
            verdict="extend" if n < 6 else "promote",
            lifts={"contacts": Interval(lift=0.4, lower=0.5 - 1 / n, upper=0.4 + 1 / n)},
        )
        for n in range(1, 7)
    )
    shift_start, shift_end = at(400), at(440)
    return DemoRecord(
        source=Source(
            text="simulated marketplace, seed 7",
            own_logs=False,
            start=datetime(2026, 2, 22, tzinfo=UTC),
            end=T0,
            facts={"World": "1,500 ads"},
        ),
        began=T0,
        ended=at(500),
        stages=(
            Stage(name="stack", state="success", started=T0, ended=at(30.25), cpu_seconds=41.26),
            *(
                Stage(
                    name=name,
                    state="success",
                    started=at(60),
                    ended=at(70),
                    cpu_seconds=12.5,
                    waited_for={f"{name}.{name}_model": {"queued": 1.5, "deferred": 8.5}},
                )
                for name in WEEKLY_STAGES
            ),
        ),
        tasks=(
            Task(
                dag_id="ranking_training_weekly",
                run_id="demo-1",
                task_id="train.train_model",
                state="success",
                started=at(60),
                ended=at(70),
            ),
        ),
        features=Features(hours=192, offline_rows=7, redis_keys=5, dynamodb_items=3),
        training=Training(
            train_rows=100,
            queries=10,
            mlflow_run_id="run-1",
            ndcg_at_10=0.5,
            logged_order_ndcg_at_10=0.4,
            folds=(
                Fold(name="from 1 Mar 00:00", ndcg_at_10=0.52, logged_order_ndcg_at_10=0.41),
                Fold(name="test fold", ndcg_at_10=0.5, logged_order_ndcg_at_10=0.4),
            ),
            importance={"ctr_7d": 30.0, "context.affinity": 10.0},
        ),
        gate=Gate(verdict="pass", reasons=("relevance: NDCG@10 +0.1 [<0.05, 0.15]",)),
        registry=Registry(name="ranking-model", version="2", aliases={"previous": "1", "production": "2"}),
        experiment=Experiment(
            experiment_id="ab-1",
            primary_metric="contacts",
            share=0.5,
            verdict="promote",
            reasons=("contacts: better",),
            users={"control": 1500, "treatment": 1498},
            looks=looks,
        ),
        approval=Approval(
            decision="Approve",
            by="product_manager",
            at=at(390),
            package_digest=DIGEST,
            report_digest="b2" * 32,
            body=f"Package {DIGEST}",
        ),
        production=Production(
            endpoint_config="adrank-a1-production-2",
            package_digest=DIGEST,
            verified=True,
            started=shift_start,
            ended=shift_end,
        ),
        traffic=tuple(
            TrafficSecond(at=at(s), answered={INCUMBENT if s < 420 else DIGEST[:12]: 20}, failed=int(s in (300, 430)))
            for s in range(250, 460)
        ),
        traffic_totals=TrafficTotals(
            requests=4200, failed_requests=2, speed=480, effective_speed=301.25001, held_seconds=17.3
        ),
        addresses="  Airflow UI http://127.0.0.1:8080",
    )
