"""``report.html``: one self-contained page about a :class:`demo.report.record.DemoRecord`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from demo.report import plots
from demo.report.record import OWN_STAGES, DemoRecord, TrafficSecond
from demo.report.summary import shift_seconds, summary

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
#: Seconds before and after the shift that its plot shows.
_MARGIN: Final = 15
_SHORT: Final = 12


def html(record: DemoRecord) -> str:
    """The page."""
    return _TEMPLATES.get_template("report.html.j2").render(
        record=record,
        summary=summary(record),
        plots={name: Markup(svg) for name, svg in _plots(record).items()},  # noqa: S704 - drawn here, from numbers
        incumbent=_incumbent(record),
        minutes=(record.ended - record.began).total_seconds() / 60,
    )


def _plots(record: DemoRecord) -> dict[str, str]:
    """The plots that this record has something to show for."""
    own = [stage for stage in record.stages if stage.name in OWN_STAGES]
    drawn = {"timeline": plots.timeline(own, record.tasks)}
    if record.training:
        drawn["folds"] = plots.folds(record.training.folds)
        drawn["importance"] = plots.importance(record.training.importance)
    experiment = record.experiment
    if experiment and any(look.closed_interval(experiment.primary_metric) for look in experiment.looks):
        drawn["looks"] = plots.looks(experiment)
    if record.production and shift_seconds(record):
        drawn["shift"] = plots.shift(_around_shift(record), record.production, _versions(record))
    return drawn


def _around_shift(record: DemoRecord) -> list[TrafficSecond]:
    assert record.production is not None
    first, last = record.production.started.timestamp() - _MARGIN, record.production.ended.timestamp() + _MARGIN
    return [second for second in record.traffic if first <= second.at.timestamp() <= last]


def _versions(record: DemoRecord) -> dict[str, str]:
    """Model versions that answered around the shift, with what they are: the approved one last."""
    assert record.production is not None
    answered = Counter[str]()
    for second in _around_shift(record):
        answered.update(second.answered)
    approved = record.production.package_digest[:_SHORT]
    names = {version: f"{version} (before)" for version in sorted(answered) if version != approved}
    return {**names, approved: f"{approved} (approved)"}


def _incumbent(record: DemoRecord) -> str:
    """The model version that answered before the shift, if anyone did."""
    production = record.production
    if production is None:
        return ""
    return next((v for v in _versions(record) if v != production.package_digest[:_SHORT]), "")
