"""``summary.json``: a :class:`demo.report.record.DemoRecord` reduced to what a script wants to check."""

from __future__ import annotations

from typing import Any

from demo.report.record import DemoRecord, Stage, TrafficSecond


def summary(record: DemoRecord) -> dict[str, Any]:
    """The summary; a part is null where its stage was skipped."""
    return {
        "data": record.source.text,
        "stages": {stage.name: _stage(stage) for stage in record.stages},
        "features": record.features.model_dump() if record.features else None,
        "training": record.training.model_dump(exclude={"folds", "importance"}) if record.training else None,
        "gate": record.gate.model_dump(mode="json") if record.gate else None,
        "registry": record.registry.model_dump() if record.registry else None,
        "experiment": _experiment(record),
        "traffic": _traffic(record),
        "approval": record.approval.model_dump(include={"decision", "by", "package_digest"})
        if record.approval
        else None,
        "production": _production(record),
    }


def shift_seconds(record: DemoRecord) -> tuple[TrafficSecond, ...]:
    """The traffic between the shift's start and the end of verification."""
    production = record.production
    if production is None:
        return ()
    first = production.started.replace(microsecond=0)
    return tuple(second for second in record.traffic if first <= second.at <= production.ended)


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "seconds": round(stage.seconds, 1),
        "state": stage.state,
        "cpu_seconds": round(stage.cpu_seconds, 1),
        "waited_for": stage.waited_for,
    }


def _experiment(record: DemoRecord) -> dict[str, Any] | None:
    experiment = record.experiment
    if experiment is None:
        return None
    users = {name: experiment.users.get(name, 0) for name in ("control", "treatment")}
    return {"verdict": experiment.verdict, "users": users, "looks": len(experiment.looks)}


def _traffic(record: DemoRecord) -> dict[str, Any] | None:
    totals = record.traffic_totals
    if totals is None:
        return None
    rounded = ("speed", "effective_speed", "held_seconds")
    return totals.model_dump() | {name: round(getattr(totals, name), 1) for name in rounded}


def _production(record: DemoRecord) -> dict[str, Any] | None:
    production = record.production
    if production is None:
        return None
    seconds = shift_seconds(record)
    return {
        "endpoint_config": production.endpoint_config,
        "package_digest": production.package_digest,
        "verified": production.verified,
        "requests_during_shift": sum(second.requests for second in seconds),
        "failed_requests_during_shift": sum(second.failed for second in seconds),
    }
