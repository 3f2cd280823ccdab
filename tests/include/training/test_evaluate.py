"""The gate's evidence: candidate, production and logged order on one frozen fold."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from adrank.contracts import packages
from adrank.contracts.entry_points.training import Hyperparameters
from adrank.contracts.settings import Gate
from adrank.decisions import gate
from adrank.runtime import sagemaker_job
from tests.include.training.synthetic import write_biased_set, write_set
from training import evaluate
from training import train as training
from training.dataset import training_set
from training.dataset.training_set import TrainingSet
from training.package_incumbent import package_incumbent

PARAMETERS = Hyperparameters(learning_rate=0.2, num_leaves=4, min_data_in_leaf=20, num_boost_round=10, seed=20, folds=1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``set``, ``candidate`` and ``incumbent``."""
    root = tmp_path_factory.mktemp("evaluate")
    write_set(root / "log", queries=900).rename(root / "set")
    training.train(training_set.read(root / "set"), PARAMETERS, root / "candidate")
    package_incumbent(root / "incumbent")
    return root


@pytest.fixture
def data(directory: Path) -> TrainingSet:
    return training_set.read(directory / "set")


def test_a_better_candidate_shows_a_positive_interval_and_passes(
    directory: Path, data: TrainingSet, tmp_path: Path
) -> None:
    evidence = evaluate.evaluate(
        data, directory / "candidate", directory / "incumbent", tmp_path, confidence=0.95, min_propensity=1
    )
    shown = evidence.objectives["relevance"]
    assert shown.positive_queries == evidence.test_queries == 270
    assert shown.versus_production is not None
    assert shown.candidate is not None
    assert shown.production is not None
    assert shown.versus_production.mean == pytest.approx(shown.candidate - shown.production)
    assert shown.versus_production.lower > 0
    assert shown.production == shown.logged_order, "slots are the logged order here"
    assert evidence.objectives["contact"].positive_queries == 90
    assert evidence.objectives["revenue"] == gate.ObjectiveEvidence(positive_queries=0)
    verdict = gate.judge(evidence, Gate(min_positive_queries=50))
    assert verdict.verdict == "pass", verdict.reasons
    assert "revenue: absent from the log, not judged" in verdict.reasons


def test_a_worse_candidate_is_rejected(directory: Path, data: TrainingSet, tmp_path: Path) -> None:
    incumbent = tmp_path / "incumbent"
    shutil.copytree(directory / "incumbent", incumbent)
    evidence = evaluate.evaluate(
        data, incumbent, directory / "candidate", tmp_path / "out", confidence=0.95, min_propensity=1
    )
    shown = evidence.objectives["relevance"].versus_production
    assert shown is not None
    assert shown.upper < 0
    assert gate.judge(evidence, Gate(min_positive_queries=50)).verdict == "reject"


def test_a_candidate_identical_to_production_differs_by_nothing(
    directory: Path, data: TrainingSet, tmp_path: Path
) -> None:
    evidence = evaluate.evaluate(
        data, directory / "candidate", directory / "candidate", tmp_path, confidence=0.95, min_propensity=1
    )
    assert evidence.objectives["relevance"].versus_production == gate.Difference(mean=0, lower=0, upper=0)


def test_without_production_the_comparison_is_null(directory: Path, data: TrainingSet, tmp_path: Path) -> None:
    evidence = evaluate.evaluate(data, directory / "candidate", None, tmp_path, confidence=0.95, min_propensity=1)
    assert evidence.production is None
    shown = evidence.objectives["relevance"]
    assert (shown.production, shown.versus_production) == (None, None)
    assert shown.versus_logged_order is not None
    assert gate.judge(evidence, Gate(min_positive_queries=50)).verdict == "pass"


def test_weighting_by_examination_takes_away_the_advantage_of_the_chosen_order(directory: Path, tmp_path: Path) -> None:
    data = training_set.read(write_biased_set(tmp_path / "log"))
    training.train(data, PARAMETERS, tmp_path / "candidate")

    def difference(min_propensity: float) -> gate.Difference | None:
        evidence = evaluate.evaluate(
            data, tmp_path / "candidate", directory / "incumbent", tmp_path, confidence=0.95,
            min_propensity=min_propensity,
        )  # fmt: skip
        return evidence.objectives["relevance"].versus_production

    as_logged, weighted = difference(1), difference(0.05)
    assert as_logged is not None
    assert weighted is not None
    assert as_logged.upper < 0, "as logged, the random order wins over the better ads"
    assert weighted.lower > 0


def test_a_tampered_golden_request_shows_as_an_error(directory: Path, data: TrainingSet, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(directory / "candidate", package)
    golden = json.loads((package / packages.GOLDEN).read_text())
    golden["scores"][0] += 0.5
    (package / packages.GOLDEN).write_text(json.dumps(golden))
    evidence = evaluate.evaluate(
        data, package, None, tmp_path / "out", confidence=0.95, min_propensity=1,
        candidate_digest=packages.package_digest(directory / "candidate"),
    )  # fmt: skip
    assert evidence.candidate.golden_error == pytest.approx(0.5)
    verdict = gate.judge(evidence, Gate(min_positive_queries=50))
    assert verdict.verdict == "reject"
    assert "has digest" in verdict.reasons[0]
    assert "misses its golden scores" in verdict.reasons[1]


def test_a_candidate_trained_on_another_set_is_rejected(directory: Path, data: TrainingSet, tmp_path: Path) -> None:
    other = replace(data, manifest=data.manifest.model_copy(update={"content_digest": "other"}))
    evidence = evaluate.evaluate(other, directory / "candidate", None, tmp_path, confidence=0.95, min_propensity=1)
    reasons = gate.judge(evidence, Gate(min_positive_queries=50)).reasons
    assert "it is evaluated on other" in reasons[0]


def test_a_feature_that_the_set_lacks_is_missing_everywhere(data: TrainingSet) -> None:
    vectors = data.vectors(data.test, ["context.unheard_of", "context.slot", "context.price"])
    assert np.isnan(vectors[:, 0]).all()
    assert vectors[:6, 1].tolist() == [1, 2, 3, 4, 5, 6]
    assert not np.isnan(vectors[:, 2]).any()


EXAMINATION = np.arange(1, 11) ** -0.7


def log(sorted_by_relevance: float, seed: int = 3) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """20,000 lists of ten of 200 ads; the logger's order is relevance times ``sorted_by_relevance`` plus noise."""
    generator = np.random.default_rng(seed)
    relevance = generator.beta(2, 8, size=200)
    ads = generator.permuted(np.tile(np.arange(200), (20_000, 1)), axis=1)[:, :10]
    noise = generator.normal(scale=relevance.std(), size=ads.shape)
    order = np.argsort(-(sorted_by_relevance * relevance[ads] + noise), axis=1)
    shown = np.take_along_axis(ads, order, axis=1)
    clicks = generator.random(shown.shape) < relevance[shown] * EXAMINATION
    positions = np.tile(np.arange(1, 11), (len(ads), 1))
    return shown.ravel(), positions.ravel(), clicks.ravel().astype(np.int64)


def test_a_random_logger_shows_examination_as_it_is() -> None:
    assert evaluate.examination(*log(0.0), floor=0.01) == pytest.approx(EXAMINATION, rel=0.08)


def test_a_logger_that_shows_better_ads_higher_does_not_pass_for_examination() -> None:
    ad, position, click = log(1.5)
    naive = np.array([click[position == k].mean() for k in range(1, 11)])
    assert (naive / naive[0])[-1] < 0.75 * EXAMINATION[-1], "the raw click rate by position confounds the two"
    assert evaluate.examination(ad, position, click, floor=0.01) == pytest.approx(EXAMINATION, rel=0.08)


def test_examination_never_rises_and_never_falls_below_its_floor() -> None:
    estimated = evaluate.examination(*log(0.0), floor=0.3)
    assert np.all(np.diff(estimated) <= 0)
    assert estimated.min() == 0.3


def test_a_log_without_clicks_is_refused() -> None:
    ad, position, click = log(0.0)
    with pytest.raises(ValueError, match="no click"):
        evaluate.examination(ad, position, np.zeros_like(click), floor=0.1)


class TestJob:
    @pytest.fixture
    def base(self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
        monkeypatch.setattr("sys.argv", ["job"])
        inputs = tmp_path / "processing/input"
        shutil.copytree(directory / "set", inputs / "training_set")
        (inputs / "candidate").mkdir()
        packages.pack(directory / "candidate", inputs / "candidate/model.tar.gz")
        return tmp_path

    def test_writes_evidence_and_per_query_values(
        self, base: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (base / "processing/input/production").mkdir()
        packages.pack(directory / "incumbent", base / "processing/input/production/model.tar.gz")
        monkeypatch.setattr("sys.argv", ["job", "--min-propensity", "1"])
        sagemaker_job.run_job("processing", evaluate.main)
        output = base / "processing/output/evidence"
        evidence = gate.GateEvidence.model_validate_json((output / "evidence.json").read_bytes())
        assert evidence.production is not None
        per_query = pq.read_table(output / "per_query.parquet")
        assert per_query.num_rows == evidence.test_queries
        reached = np.average(per_query["relevance.candidate"], weights=per_query["relevance.weight"])
        assert reached == pytest.approx(evidence.objectives["relevance"].candidate)

    def test_a_candidate_that_is_no_archive_is_named(self, base: Path) -> None:
        (base / "processing/input/candidate/model.tar.gz").write_bytes(b"no archive")
        with pytest.raises(SystemExit, match="1"):
            sagemaker_job.run_job("processing", evaluate.main)
        assert "model.tar.gz cannot be unpacked" in (base / "output/message").read_text()

    def test_a_missing_archive_is_named(self, base: Path) -> None:
        (base / "processing/input/candidate/model.tar.gz").unlink()
        with pytest.raises(SystemExit, match="1"):
            sagemaker_job.run_job("processing", evaluate.main)
        assert "holds 0 model archives" in (base / "output/message").read_text()
