"""The demo's settings: they are ones that the lifecycle accepts, and they fit the history at hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adrank.contracts.settings import Settings
from demo import plan as plans
from demo.plan import DemoPlan
from demo.sources import SimulatedHistory
from demo.traffic_process import command
from simulator.traffic.command_line import TrafficArguments

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def plan(hours: int, metrics: tuple[str, ...] = ("contacts",)) -> DemoPlan:
    start = NOON - timedelta(hours=hours)
    return DemoPlan(text="t", own_logs=True, seed=7, start=start, end=NOON, metrics=metrics)


def loaded(monkeypatch: pytest.MonkeyPatch, chosen: DemoPlan) -> Settings:
    for name, value in plans.environment(chosen, NOON).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_the_last_two_hours_go_through_the_hourly_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, plan(192))
    assert settings.airflow.features_start == NOON - timedelta(hours=2)
    assert settings.airflow.training_start == NOON
    assert settings.training.window_days >= 8
    assert settings.experiment.share == 0.5
    assert settings.labels.maturity == timedelta(hours=1)


@pytest.mark.parametrize("hours", [1, 2])
def test_a_shorter_history_goes_through_it_whole(hours: int) -> None:
    assert plan(hours).hourly_start == plan(hours).start


@pytest.mark.parametrize(("hours", "minutes"), [(1, 2.5), (12, 30), (24, 60), (9000, 60)])
def test_labels_of_a_short_log_wait_for_less_than_the_log_lasts(hours: int, minutes: float) -> None:
    assert plan(hours).maturity == timedelta(minutes=minutes)


def test_the_experiment_is_decided_by_what_the_log_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, plan(48, metrics=("clicks",))).experiment.primary_metric == "clicks"


def test_simulated_history_ends_with_the_last_whole_hour() -> None:
    chosen = SimulatedHistory.of(7, NOON + timedelta(minutes=59)).plan()
    assert (chosen.end, chosen.hours) == (NOON, 8 * 24)


@pytest.mark.parametrize("data", [None, Path("/logs")])
def test_traffic_understands_its_command_line(data: Path | None) -> None:
    chosen = SimulatedHistory.of(8, NOON).plan()
    parsed = TrafficArguments.parse(command(chosen, data, Path("/state.json"))[3:])
    assert (parsed.start, parsed.history_days, parsed.seed) == (NOON, 8, 8)
    assert (parsed.searches_source, parsed.data) == (("replay", data) if data else ("world", None))
    assert parsed.searches >= 6000
