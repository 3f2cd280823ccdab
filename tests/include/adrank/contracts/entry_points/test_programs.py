"""The remote programs: settings reach them as they were set, and nothing that settings decide is no flag of theirs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adrank.contracts.entry_points.billing import LandBilling
from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.contracts.entry_points.features import (
    CheckWindows,
    ComputeFeatures,
    HourlyFeatures,
    PushFeatures,
    ValidateFeatures,
)
from adrank.contracts.entry_points.training import BuildTrainingSet, Evaluate, MeasureExperiment, TrainHyperparameters
from adrank.contracts.experiments import Experiment
from adrank.contracts.settings import Labels, Settings

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
EXPERIMENT = Experiment(
    experiment_id="e",
    salt="s",
    treatment_share=0.5,
    start=START,
    treatment_endpoint="t",
    control_endpoint="c",
    status="running",
    package_digest="d",
)
#: What each program is given besides what settings decide.
VALUES: dict[type[EntryPointArguments], dict[str, Any]] = {
    ComputeFeatures: {"group": ["a", "b"], "start": START, "end": END, "recompute": False, "owner": "o"},
    ValidateFeatures: {"start": START, "end": END, "run": "r"},
    PushFeatures: {"store": "redis", "hour": START, "full": True},
    HourlyFeatures: {"hour": START, "run": "r", "owner": "o", "late_lookback_hours": 48.0},
    CheckWindows: {"group": "a", "day": START},
    BuildTrainingSet: {"as_of": START},
    Evaluate: {"candidate_digest": "d", "production_digest": ""},
    MeasureExperiment: {"experiment": EXPERIMENT, "start": START, "end": END},
    LandBilling: {"day": START},
}


@pytest.mark.parametrize("program", VALUES, ids=lambda program: program.program)
def test_a_program_is_told_what_it_was_to_be_told(program: type[EntryPointArguments]) -> None:
    values = {**VALUES[program], **program.from_settings(Settings())}
    parsed = program.parse(program.command_line(**values))
    expected = program(**values)
    assert parsed == expected
    assert {name for name, field in program.model_fields.items() if field.is_required()} <= values.keys()


def test_label_weights_reach_the_job_as_they_were_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADRANK_LABELS__CONTACT", "7")
    arguments = BuildTrainingSet.command_line(**BuildTrainingSet.from_settings(Settings()))
    labels = arguments[arguments.index("--labels") + 1]
    assert json.loads(labels)["contact"] == 7
    assert Labels.model_validate_json(labels) == Settings().labels


def test_billing_reaches_the_jobs_as_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADRANK_BILLING__MATURITY", "PT36H")
    monkeypatch.setenv("ADRANK_BILLING__LAG", "PT90M")
    monkeypatch.setenv("ADRANK_BILLING__CURRENCY", "JPY")
    settings = Settings()
    for program in (BuildTrainingSet, MeasureExperiment):
        words = program.command_line(**program.from_settings(settings))
        assert words[words.index("--billing-maturity") + 1] == "P1DT12H"
    landing = LandBilling.command_line(**LandBilling.from_settings(settings))
    assert landing[-4:] == ["--currency", "JPY", "--lag", "PT1H30M"]


def test_columns_that_history_may_leave_out_reach_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def flags() -> list[str]:
        given = ComputeFeatures.from_settings(Settings())
        return ComputeFeatures.command_line(ignored_column=given["ignored_column"])

    assert flags() == []
    monkeypatch.setenv("ADRANK_CDC__IGNORED_COLUMNS", '["ads.colour", "sellers.vat_id"]')
    assert flags() == ["--ignored-column", "ads.colour", "--ignored-column", "sellers.vat_id"]


def test_hyperparameters_are_strings_because_sagemaker_carries_nothing_else() -> None:
    given = TrainHyperparameters.from_settings(Settings())
    assert all(isinstance(value, str) for value in given.values())
    assert given.keys() == TrainHyperparameters.model_fields.keys() - {"run_name"}
    assert TrainHyperparameters.model_validate_json(json.dumps({**given, "run_name": "r"})).seed == 20


def test_a_range_without_a_whole_hour_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    values = {**ComputeFeatures.from_settings(Settings()), "group": ["a"], "start": START, "end": START}
    with pytest.raises(SystemExit):
        ComputeFeatures.parse(ComputeFeatures.command_line(**values))
    assert "error: there is no whole hour from 2026-03-01T00:00:00+00:00 to" in capsys.readouterr().err


def test_a_maturity_is_spelled_as_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    argv = MeasureExperiment.command_line(experiment=EXPERIMENT, start=START, end=END)
    assert MeasureExperiment.parse([*argv, "--billing-maturity", "P2DT1H"]).billing_maturity == timedelta(hours=49)
    with pytest.raises(SystemExit):
        MeasureExperiment.parse([*argv, "--billing-maturity", "two days"])
    assert "argument --billing-maturity: " in capsys.readouterr().err
