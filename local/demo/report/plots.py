"""The report's plots: each a function from values to inline SVG.

Text and axes take the page's colour (``currentColor``), so one picture reads on light, on dark and on paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from demo.report.record import Experiment, Fold, Production, Stage, Task, TrafficSecond

#: Stands for the page's text colour until the SVG is written.
_INK: Final = "#010203"
_ALARM: Final = "#d62839"
_COLOURS: Final = (
    *("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#72b7b2", "#e45756"),
    *("#9d755d", "#c9a400", "#8d8a87", "#d67195", "#6b6ecf", "#637939"),
)
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}
_SMOOTHING: Final = 3
#: A task that took less is drawn as if it had taken this long, or it could not be seen.
_LEAST_SECONDS: Final = 2

#: Name, group, start, end.
_Bar = tuple[str, str, datetime, datetime]


def timeline(stages: Sequence[Stage], tasks: Sequence[Task]) -> str:
    """Gantt chart: one row per stage of the demo itself and per task, coloured by group."""
    rows: list[_Bar] = [(s.name, "demo", s.started, s.ended) for s in stages if s.started and s.ended]
    rows += [(label, _task_group(t), t.started, t.ended) for t, label in _labelled(tasks) if t.started and t.ended]
    rows.sort(key=lambda row: row[2])
    groups = list(dict.fromkeys(group for _, group, _, _ in rows))
    colours = dict(zip(groups, _COLOURS * (1 + len(groups) // len(_COLOURS)), strict=False))
    origin = min((row[2] for row in rows), default=datetime.min)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (_, group, started, ended) in enumerate(rows):
            left = (started - origin).total_seconds() / 60
            width = max((ended - started).total_seconds(), _LEAST_SECONDS) / 60
            axes.barh(place, width, left=left, height=0.72, color=colours[group])
        axes.set_yticks(range(len(rows)), [name for name, _, _, _ in rows], fontsize=7.5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("minutes since the start")
        axes.xaxis.grid(True, alpha=0.25, color=_INK)
        axes.set_axisbelow(True)
        bars = [Patch(color=colours[group], label=group) for group in groups]
        figure.legend(handles=bars, ncols=4, loc="outside upper left", frameon=False)

    return _svg("timeline", draw, height=1.2 + 0.17 * len(rows))


def folds(shown: Sequence[Fold]) -> str:
    """NDCG@10 of the model and of the logged order, fold by fold in time."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, fold in enumerate(shown):
            axes.plot([place, place], [fold.logged_order_ndcg_at_10, fold.ndcg_at_10], color=_INK, alpha=0.3, zorder=1)
        places = range(len(shown))
        model, logged = [f.ndcg_at_10 for f in shown], [f.logged_order_ndcg_at_10 for f in shown]
        series = (("model", model, "o", _COLOURS[0]), ("logged order", logged, "s", _COLOURS[1]))
        for label, values, marker, colour in series:
            axes.scatter(places, values, marker=marker, s=60, color=colour, label=label, zorder=2)
            for place, value in zip(places, values, strict=True):
                axes.annotate(f"{value:.3f}", (place, value), xytext=(8, -3), textcoords="offset points", fontsize=8)
        axes.set_xticks(places, [fold.name for fold in shown])
        axes.set_xlim(-0.5, len(shown) - 0.3)
        axes.set_ylabel("NDCG@10")
        axes.margins(y=0.2)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False)

    return _svg("folds", draw, height=3)


def importance(gains: Mapping[str, float], top: int = 15) -> str:
    """The features that the model gains most from, as shares of the whole gain."""
    total = sum(gains.values()) or 1.0
    best = sorted(gains.items(), key=lambda item: item[1])[-top:]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        bars = axes.barh([name for name, _ in best], [100 * gain / total for _, gain in best], color=_COLOURS[2])
        axes.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=8)
        axes.set_xlabel("share of the model's gain, %")
        axes.margins(x=0.12)

    return _svg("importance", draw, height=0.8 + 0.24 * len(best))


def looks(experiment: Experiment) -> str:
    """The primary metric's lift with its always-valid interval at every look."""
    metric = experiment.primary_metric
    closed = [(look, interval) for look in experiment.looks if (interval := look.closed_interval(metric))]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        hours = [look.elapsed_hours for look, _ in closed]
        lifts, lower, upper = 100 * np.array([interval for _, interval in closed]).T
        axes.fill_between(hours, lower, upper, color=_COLOURS[0], alpha=0.18, linewidth=0)
        axes.errorbar(hours, lifts, yerr=[lifts - lower, upper - lifts], fmt="o-", color=_COLOURS[0], capsize=4)
        axes.axhline(0, color=_INK, linewidth=1, linestyle="--", alpha=0.6)
        for (look, _), high in zip(closed, upper, strict=True):
            axes.annotate(
                look.verdict,
                (look.elapsed_hours, high),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.set_xticks(hours)
        axes.set_xlabel("hours of event time since the experiment's start")
        axes.set_ylabel(f"lift of {metric} per search, %")
        axes.margins(y=0.15)

    return _svg("looks", draw, height=3.4)


def shift(seconds: Sequence[TrafficSecond], production: Production, names: Mapping[str, str]) -> str:
    """Who answered, as shares over wall time, and every failed request. ``names``: model version -> label."""
    versions = list(names)
    shares = _smoothed_shares(seconds, versions)
    times: list[Any] = [second.at for second in seconds]
    broken = [(second.at, second.failed) for second in seconds if second.failed]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        labels = [names[version] for version in versions]
        upper.stackplot(times, shares, labels=labels, colors=_COLOURS[: len(versions)], alpha=0.85)
        upper.set_ylabel("answers, %")
        upper.set_ylim(0, 100)
        upper.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False)
        lower.bar(times, [second.requests for second in seconds], width=1 / 86400, color=_INK, alpha=0.35)
        lower.bar([at for at, _ in broken], [count for _, count in broken], width=1 / 86400, color=_ALARM)
        lower.set_ylabel("requests/s\n(failed: red)")
        for axes in (upper, lower):
            for moment in (production.started, production.ended):
                axes.axvline(moment, color=_INK, linestyle=":", linewidth=1)
        lower.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
        lower.set_xlabel("wall time (UTC); dotted: shift begins, verification ends")

    return _svg("shift", draw, height=4.2)


def _smoothed_shares(seconds: Sequence[TrafficSecond], versions: Sequence[str]) -> list[list[float]]:
    """Percent of the answers by version, over a few seconds around each second."""
    shares: list[list[float]] = [[] for _ in versions]
    for place in range(len(seconds)):
        around = seconds[max(0, place - _SMOOTHING // 2) : place + _SMOOTHING // 2 + 1]
        counts = [sum(second.answered.get(version, 0) for second in around) for version in versions]
        total = sum(counts) or 1
        for share, count in zip(shares, counts, strict=True):
            share.append(100 * count / total)
    return shares


def _labelled(tasks: Sequence[Task]) -> list[tuple[Task, str]]:
    """The tasks that ran, each named by DAG, run (where a DAG has several) and task."""
    ran = [task for task in tasks if task.state in ("success", "failed")]
    runs: dict[str, list[str]] = {}
    for task in sorted(ran, key=lambda task: task.run_id):
        of_dag = runs.setdefault(task.dag_id, [])
        if task.run_id not in of_dag:
            of_dag.append(task.run_id)
    numbers = {run: f" {place}" for of_dag in runs.values() if len(of_dag) > 1 for place, run in enumerate(of_dag, 1)}
    return [(task, f"{_short(task)}{numbers.get(task.run_id, '')}: {task.task_id}") for task in ran]


def _short(task: Task) -> str:
    """``hourly`` of ``ranking_features_hourly``."""
    return task.dag_id.rsplit("_", 1)[-1]


def _task_group(task: Task) -> str:
    if task.dag_id != "ranking_training_weekly":
        return _short(task)
    return task.group if "." in task.task_id else "clean-up and report"


def _svg(name: str, draw: Any, height: float) -> str:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(9, height), layout="constrained")
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # Without a size of its own it takes the page's width; the view box keeps the proportions.
    return re.sub(r' (?:width|height)="[0-9.]+pt"', "", svg, count=2)
