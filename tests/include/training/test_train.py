"""Training: a deterministic package that beats the logged order where it can, and never learns the order itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from adrank.contracts import packages
from adrank.contracts.entry_points.training import Hyperparameters
from adrank.ranking.ranker import load_golden, load_package
from adrank.runtime import sagemaker_job
from tests.include.training.synthetic import write_set
from training import train as training
from training.dataset import training_set
from training.dataset.training_set import TrainingSet, TrainingSetError
from training.model import lambdarank, ndcg
from training.model import package as model_package

PARAMETERS = Hyperparameters(learning_rate=0.2, num_leaves=7, min_data_in_leaf=20, num_boost_round=30, seed=20, folds=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return training_set.read(write_set(tmp_path_factory.mktemp("set")))


@pytest.fixture(scope="module")
def package(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package")
    training.train(data, PARAMETERS, directory)
    return directory


def test_the_model_beats_the_logged_order_on_the_test_fold(package: Path) -> None:
    metrics = json.loads((package / packages.METRICS).read_text())
    assert metrics["ndcg_at_10"] > metrics["logged_order_ndcg_at_10"] + 0.1
    assert max(metrics["importance"], key=metrics["importance"].__getitem__) == "context.price"
    assert metrics["click_ndcg_at_10"] > metrics["logged_order_click_ndcg_at_10"]


def test_the_headline_figures_are_those_of_the_saved_package(package: Path, data: TrainingSet) -> None:
    ranker = load_package(package)
    scores = ranker.score(data.vectors(data.test, ranker.features))
    metrics = json.loads((package / packages.METRICS).read_text())
    assert ndcg.mean(lambdarank.relevance(data.test, scores)) == pytest.approx(metrics["ndcg_at_10"])
    assert metrics["folds"][-1]["ndcg_at_10"] == metrics["ndcg_at_10"]


def test_folds_expand_in_time_and_end_with_the_test_split(package: Path, data: TrainingSet) -> None:
    folds = json.loads((package / packages.METRICS).read_text())["folds"]
    assert len(folds) == PARAMETERS.folds
    assert [fold["start"] for fold in folds] == sorted(fold["start"] for fold in folds)
    assert folds[-1]["start"] == data.manifest.test_start.isoformat()
    assert folds[-1]["queries"] == 90


def test_golden_requests_come_with_the_scores_of_the_package(package: Path) -> None:
    golden = load_golden(package)
    assert len(golden.vectors) == 20
    assert any(value is None for value in golden.vectors[0]), "missing travels as null"
    scores = load_package(package).score(model_package.golden_matrix(golden))
    assert scores.tolist() == list(golden.scores)
    assert len(set(golden.scores)) > 5


def test_the_same_set_gives_the_same_digest_on_any_number_of_threads(
    package: Path, data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambdarank, "_ROWS_WORTH_THREADS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert training.train(data, PARAMETERS, tmp_path).digest == packages.package_digest(package)


def test_another_seed_gives_another_digest(data: TrainingSet, tmp_path: Path) -> None:
    small = PARAMETERS.model_copy(update={"num_boost_round": 3, "num_leaves": 2})
    digests = {
        seed: training.train(data, small.model_copy(update={"seed": seed}), tmp_path / str(seed)).digest
        for seed in (20, 21)
    }
    assert digests[20] != digests[21]


def test_a_model_that_cannot_tell_ads_apart_earns_chance_and_not_the_logged_order(tmp_path: Path) -> None:
    data = training_set.read(write_set(tmp_path, told_by=None))
    trained = training.train(data, PARAMETERS, tmp_path / "package")
    blind = np.mean([1 / np.log2(place + 2) for place in range(6)])
    assert trained.metrics["logged_order_ndcg_at_10"] == 1, "every click is at the top of the list"
    assert trained.metrics["ndcg_at_10"] == pytest.approx(blind, abs=0.1), "and no feature says where that was"


def test_lightgbm_never_sees_a_list_in_logged_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_set.read(write_set(tmp_path, told_by=None))
    seen: list[np.ndarray[Any, Any]] = []
    dataset = lightgbm.Dataset

    def spy(features: Any, label: Any, group: Any) -> Any:
        seen.append(label[np.cumsum(group) - group] > 0)
        return dataset(features, label, group=group)

    monkeypatch.setattr(lightgbm, "Dataset", spy)
    lambdarank.fit(data.train, PARAMETERS, rounds=1, num_leaves=2)
    (first_row_is_clicked,) = seen
    assert first_row_is_clicked.mean() == pytest.approx(1 / 6, abs=0.08), "logged, every list starts with its click"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_positives_is_named(data: TrainingSet, tmp_path: Path, split: str) -> None:
    rows = getattr(data, split)
    empty = replace(data, **{split: replace(rows, grade=np.zeros_like(rows.grade))})
    with pytest.raises(sagemaker_job.JobError, match=f"no query of the {split} split has a positive"):
        training.train(empty, PARAMETERS, tmp_path)


def test_a_handful_of_queries_still_trains(tmp_path: Path) -> None:
    data = training_set.read(write_set(tmp_path, queries=4))
    assert training.train(data, PARAMETERS, tmp_path / "package").metrics["rounds"] == 1


def test_a_set_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path) -> None:
    directory = write_set(tmp_path, queries=4)
    (directory / "test.parquet").write_bytes((directory / "train.parquet").read_bytes())
    with pytest.raises(TrainingSetError, match=r"test\.parquet has 18 rows .* its manifest says 6 rows"):
        training_set.read(directory)


def test_the_job_logs_one_mlflow_run_however_often_it_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "ml"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    channel = tmp_path / "ml/input/data/training_set"
    channel.parent.mkdir(parents=True)
    write_set(tmp_path / "built", queries=60).rename(channel)
    config = tmp_path / "ml/input/config/hyperparameters.json"
    config.parent.mkdir(parents=True)
    strings = {name: str(value) for name, value in PARAMETERS.model_dump().items()}
    config.write_text(json.dumps({**strings, "mlflow_experiment": "ranking", "run_name": "job-1"}))

    sagemaker_job.run_job("training", training.main)
    result = json.loads((tmp_path / "ml/output/data/result.json").read_text())
    sagemaker_job.run_job("training", training.main)
    assert json.loads((tmp_path / "ml/output/data/result.json").read_text()) == result
    assert packages.package_digest(tmp_path / "ml/model") == result["package_digest"]

    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("ranking")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == result["mlflow_run_id"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["job_name"] == "job-1"
    assert run.data.tags["package_digest"] == result["package_digest"]
    assert run.data.tags["training_set_digest"]
    assert run.data.metrics["ndcg_at_10"] == result["ndcg_at_10"]
    assert len(client.get_metric_history(run.info.run_id, "fold_ndcg_at_10")) == len(result["folds"])
    assert {file.path for file in client.list_artifacts(run.info.run_id, "package")} == {
        f"package/{name}" for name in ("package.json", "model.txt", "golden.json", "metrics.json")
    }


def test_bad_hyperparameters_are_named_in_the_failure_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    config = tmp_path / "input/config/hyperparameters.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"num_leaves": "1"}))
    with pytest.raises(SystemExit, match="1"):
        sagemaker_job.run_job("training", training.main)
    failure = (tmp_path / "output/failure").read_text()
    assert "hyperparameters.json cannot be used" in failure
    assert "num_leaves" in failure
