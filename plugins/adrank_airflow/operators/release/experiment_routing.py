"""Start and stop sending users to the staging endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adrank.contracts.experiments import Experiment
from adrank.contracts.timestamps import HOUR
from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import StagingInUseError

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Whole event-time hours between the last closed hour and the experiment's start, so that every router has read it.
_LEAD = 2 * HOUR


class _RoutingOperator(AdrankTask):
    template_fields: Sequence[str] = ("experiment",)
    ui_color = "#f3dbdb"

    def __init__(self, *, experiment: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment = experiment

    def own_experiments(self) -> list[Experiment]:
        """Every experiment that this run began: ``<experiment>-<n>``; a cleared run begins another."""
        everything = self.experiments.of_endpoint(self.settings.sagemaker.production_endpoint)
        return [e for e in everything if e.experiment_id.removeprefix(f"{self.experiment}-").isdigit()]


class StartRoutingOperator(_RoutingOperator):
    """Write the experiment that the routers obey; a retry finds its own and leaves it as it is.

    :param experiment: base name of the run's experiments; templated.
    :param package_digest: of what staging serves; templated.
    """

    returns = ("experiment_id", "start")
    template_fields: Sequence[str] = ("experiment", "package_digest")

    def __init__(self, *, package_digest: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.package_digest = package_digest

    def execute(self, context: Context) -> dict[str, str]:
        """Return the experiment's id and its start in event time."""
        del context
        settings, hook, own = self.settings, self.experiments, self.own_experiments()
        control = settings.sagemaker.production_endpoint
        running = [e for e in hook.of_endpoint(control) if e.status == "running"]
        others = sorted({e.experiment_id for e in running} - {e.experiment_id for e in own})
        if others:
            raise StagingInUseError(f"{control} already runs experiment {', '.join(others)}")
        if running:
            experiment = running[0]
        else:
            experiment_id = f"{self.experiment}-{len(own) + 1}"
            experiment = Experiment(
                experiment_id=experiment_id,
                salt=experiment_id,
                treatment_share=settings.experiment.share,
                control_endpoint=control,
                treatment_endpoint=settings.sagemaker.staging_endpoint,
                start=self.lake.watermark() + _LEAD,
                status="running",
                package_digest=self.package_digest,
            )
            hook.put(experiment)
        self.log.info("Routing %.1f %% of users from %s", 100 * experiment.treatment_share, experiment.start)
        return {"experiment_id": experiment.experiment_id, "start": experiment.start.isoformat()}


class StopRoutingOperator(_RoutingOperator):
    """Send every user back to production, whatever happened before; stopping twice is fine.

    :param experiment: base name of the run's experiments; templated.
    """

    def execute(self, context: Context) -> list[str]:
        """Return the experiments that were running."""
        del context
        running = [e for e in self.own_experiments() if e.status == "running"]
        for experiment in running:
            self.experiments.put(experiment.model_copy(update={"status": "stopped"}))
        return [e.experiment_id for e in running]
