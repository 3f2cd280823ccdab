"""Reads what a weekly run left behind: XComs, the job's result, looks in the lake, aliases in MLflow."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from adrank.contracts import lake
from adrank.contracts.settings import Settings
from adrank.storage.object_store import ObjectStore
from demo.report.record import (
    Approval,
    Experiment,
    Fold,
    Gate,
    Interval,
    Look,
    Production,
    Registry,
    Task,
    Training,
    WeeklyResults,
)
from demo.runs import weekly
from demo.runs.dag_runs import DagRun, DagRunClient


def registry_client(settings: Settings) -> Any:
    """MLflow's client of the model registry."""
    # It would announce every run that it ends, in between the stages' lines.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    from mlflow import MlflowClient

    return MlflowClient(settings.training.mlflow_tracking_uri)


class Collector:
    """Reads one run. ``store``: the lake; ``registry``: an MLflow client."""

    def __init__(
        self, settings: Settings, airflow: DagRunClient, run: DagRun, store: ObjectStore, registry: Any
    ) -> None:
        self._settings = settings
        self._airflow = airflow
        self._run = run
        self._store = store
        self._registry = registry

    def everything(self, tasks: list[Task]) -> WeeklyResults:
        """All parts, as far as the run came."""
        by_id = {task.task_id: task for task in tasks}
        return WeeklyResults(
            training=self.training(),
            gate=self.gate(),
            registry=self.registry(),
            experiment=self.experiment(),
            approval=self.approval(),
            production=self.production(by_id),
        )

    def training(self) -> Training | None:
        """Figures of the training job, with folds and importance from the job's own result."""
        trained = self.returned("train.train_model")
        if trained is None:
            return None
        result = self._training_result(trained["model_data_url"])
        names = ("train_rows", "queries", "mlflow_run_id", "ndcg_at_10", "logged_order_ndcg_at_10")
        return Training(
            **{name: trained[name] for name in names},
            folds=_folds(result["folds"]),
            importance=result["importance"],
        )

    def gate(self) -> Gate | None:
        """The gate's verdict."""
        judged = self.returned("gate.judge_candidate")
        return Gate(verdict=judged["verdict"], reasons=tuple(judged["reasons"])) if judged else None

    def registry(self) -> Registry | None:
        """The registered version and the aliases as they are now."""
        registered = self.returned("register.register_package")
        if registered is None:
            return None
        name = self._settings.training.registered_model
        aliases = self._registry.get_registered_model(name).aliases
        return Registry(
            name=name,
            version=str(registered["version"]),
            aliases={alias: str(version) for alias, version in sorted(aliases.items())},
        )

    def experiment(self) -> Experiment | None:
        """The verdict, and every look that led to it."""
        routed, verdict = self.returned(weekly.START_ROUTING), self.returned(weekly.AWAIT_VERDICT)
        if not routed or not verdict:
            return None
        plan = self._settings.experiment
        return Experiment(
            experiment_id=routed["experiment_id"],
            primary_metric=plan.primary_metric,
            share=plan.share,
            verdict=verdict["verdict"],
            reasons=tuple(verdict["reasons"]),
            users=verdict["users"],
            looks=tuple(
                look for n in range(1, verdict["looks"] + 1) if (look := self.look(routed["experiment_id"], n))
            ),
        )

    def look(self, experiment_id: str, number: int) -> Look | None:
        """One stored look; None when it was not judged yet."""
        key = f"{lake.experiment_look(experiment_id, number)}verdict.json"
        body = self._store.find(key)
        return None if body is None else _look(json.loads(body))

    def approval(self) -> Approval | None:
        """Who answered what, on which evidence; None unless somebody, or the time-out, answered."""
        question = self._airflow.question(self._run.dag_id, self._run.run_id, weekly.APPROVE_PROMOTION)
        if question is None or not question.chosen_options:
            return None
        evidence: Mapping[str, str] = self.returned("approval.collect_evidence") or {}
        return Approval(
            decision=", ".join(question.chosen_options),
            by=question.by,
            at=question.at,
            package_digest=evidence.get("package_digest", ""),
            report_digest=evidence.get("report_digest", ""),
            body=question.body,
        )

    def production(self, tasks: Mapping[str, Task]) -> Production | None:
        """The shift, from its start to the end of verification; None when nothing was shifted."""
        ran = {task_id: task for task_id, task in tasks.items() if task.state in ("success", "failed")}
        shift, verify = ran.get(weekly.SHIFT_TRAFFIC), ran.get(weekly.VERIFY_PRODUCTION)
        if shift is None or shift.started is None:
            return None
        shifted, verified = self.returned(weekly.SHIFT_TRAFFIC) or {}, self.returned(weekly.VERIFY_PRODUCTION) or {}
        registered = self.returned("register.register_package") or {}
        return Production(
            endpoint_config=shifted.get("endpoint_config"),
            package_digest=verified.get("package_digest") or registered.get("package_digest", ""),
            verified=bool(verified.get("verified")),
            started=shift.started,
            ended=(verify.ended if verify else None) or shift.ended or datetime.now(UTC),
        )

    def returned(self, task_id: str) -> Any:
        """What a task of the run returned."""
        return self._airflow.returned(self._run.dag_id, self._run.run_id, task_id)

    def _training_result(self, model_data_url: str) -> dict[str, Any]:
        key = urlsplit(model_data_url).path.lstrip("/").rsplit("/", 1)[0] + "/output.tar.gz"
        with tarfile.open(fileobj=io.BytesIO(self._store.get(key)), mode="r:gz") as tar:
            for member in tar.getmembers():
                if member.name.removeprefix("./") == "result.json" and (file := tar.extractfile(member)):
                    result: dict[str, Any] = json.load(file)
                    return result
        raise LookupError(f"s3://{self._store.bucket}/{key} holds no result.json")


def _folds(folds: Sequence[Mapping[str, Any]]) -> tuple[Fold, ...]:
    """Folds in time; the last one is the test fold, which the model was not chosen on."""
    last = len(folds) - 1
    return tuple(
        Fold(
            name="test fold" if number == last else f"from {datetime.fromisoformat(fold['start']):%d %b %H:%M}",
            ndcg_at_10=fold["ndcg_at_10"],
            logged_order_ndcg_at_10=fold["logged_order_ndcg_at_10"],
        )
        for number, fold in enumerate(folds)
    )


def _look(stored: Mapping[str, Any]) -> Look:
    verdict = stored["verdict"]
    bounds = ("lift", "lower", "upper")
    return Look(
        number=stored["look"],
        elapsed_hours=stored["elapsed_hours"],
        verdict=verdict["verdict"],
        lifts={metric: Interval(**{name: lift[name] for name in bounds}) for metric, lift in verdict["lifts"].items()},
    )
