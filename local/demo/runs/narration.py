"""Tells what the weekly run decided, in the terms of those who wait for it: figures, verdicts and looks."""

from __future__ import annotations

from collections.abc import Callable

from demo.report.record import Look
from demo.runs import weekly
from demo.runs.results import Collector

Say = Callable[[str, str], None]


class DecisionPrinter:
    """``say`` takes stage and line; ``requests`` counts the live requests so far."""

    def __init__(self, collector: Collector, metric: str, say: Say, requests: Callable[[], int]) -> None:
        self._collector = collector
        self._metric = metric
        self._say = say
        self._requests = requests
        self._experiment_id = ""
        self._looks = 0

    def training(self) -> None:
        """The headline figures of the training job."""
        trained = self._collector.returned("train.train_model") or {}
        model, logged = trained["ndcg_at_10"], trained["logged_order_ndcg_at_10"]
        self._say("train", f"NDCG@10 {model:.4f} on the test fold, logged order {logged:.4f}")

    def gate(self) -> None:
        """The gate's verdict and its reasons."""
        gate = self._collector.gate()
        if gate is not None:
            for line in (gate.verdict, *(f"  {reason}" for reason in gate.reasons)):
                self._say("gate", line)

    def next_look(self) -> None:
        """The next look of the experiment, once it is there."""
        if not self._experiment_id:
            self._experiment_id = (self._collector.returned(weekly.START_ROUTING) or {}).get("experiment_id", "")
        look = self._collector.look(self._experiment_id, self._looks + 1) if self._experiment_id else None
        if look is not None:
            self._looks += 1
            self._say("ab_test", f"{look_line(look, self._metric)}; {self._requests():,} requests so far")


def look_line(look: Look, metric: str) -> str:
    """One look in one line."""
    interval = look.closed_interval(metric)
    seen = "{:+.1%} [{:+.1%}, {:+.1%}]".format(*interval) if interval else "no interval yet"
    return f"look {look.number} at {look.elapsed_hours:g} h: {look.verdict}; {metric} {seen}"
