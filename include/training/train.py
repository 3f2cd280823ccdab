"""Training job: a training set in, a model package out, both on record in MLflow.

``python -m training.train`` against the SageMaker training contract: channel ``training_set``, hyperparameters (all
strings) ``learning_rate, num_leaves, min_data_in_leaf, num_boost_round, seed, folds, mlflow_experiment, run_name``,
``MLFLOW_TRACKING_URI`` in the environment. Writes ``model/`` (the package) and ``output/data/result.json``.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from adrank.contracts import packages
from adrank.contracts.entry_points.training import Hyperparameters, TrainHyperparameters
from adrank.contracts.timestamps import from_micros
from adrank.runtime import sagemaker_job
from training.dataset import training_set
from training.dataset.training_set import Split, TrainingSet
from training.model import lambdarank, ndcg, tracking
from training.model import package as model_package

_log = logging.getLogger(__name__)
_GOLDEN_REQUESTS: Final = 20


@dataclass(frozen=True)
class TrainingResult:
    """A written package and the figures that describe it."""

    digest: str
    metrics: dict[str, Any]


def train(data: TrainingSet, parameters: Hyperparameters, package: Path) -> TrainingResult:
    """Train on the train split, measure on the test split, and write the package.

    :raises JobError: a split has no query with a positive
    """
    positives = data.train.with_positives()
    for name, split in (("train", positives), ("test", data.test.with_positives())):
        if not split.queries:
            raise sagemaker_job.JobError(f"no query of the {name} split has a positive")
    size = lambdarank.select_size(data.train, parameters)
    _log.info("%d rounds of %d leaves (NDCG@10 %.4f)", size.rounds, size.num_leaves, size.ndcg_at_10)
    model = lambdarank.fit(positives, parameters, size.rounds, size.num_leaves)
    metrics = _metrics(data, model, size, parameters)
    card = packages.PackageCard(
        ranker="lambdarank",
        features=data.manifest.features,
        fingerprint=data.manifest.fingerprint,
        training_set_digest=data.manifest.content_digest,
        best_iteration=size.rounds,
    )
    digest = model_package.write(package, card, _golden(data.test), metrics, lambdarank.model_text(model))
    return TrainingResult(digest, metrics)


def _metrics(data: TrainingSet, model: Any, size: lambdarank.ModelSize, parameters: Hyperparameters) -> dict[str, Any]:
    folds = lambdarank.fold_report(data.train, data.test, model, size, parameters)
    gains = model.feature_importance("gain")
    test = data.test
    clicks = test.click.astype(np.float64)
    score, logged = model.predict(test.features), lambdarank.logged_order(test)
    return {
        "ndcg_at_10": folds[-1].ndcg_at_10,
        "logged_order_ndcg_at_10": folds[-1].logged_order_ndcg_at_10,
        "click_ndcg_at_10": _mean_or_none(ndcg.per_query(test.query, clicks, score)),
        "logged_order_click_ndcg_at_10": _mean_or_none(ndcg.per_query(test.query, clicks, logged)),
        "train_rows": data.manifest.train_rows,
        "test_rows": data.manifest.test_rows,
        "queries": data.manifest.queries,
        "rounds": size.rounds,
        "num_leaves": size.num_leaves,
        "folds": [{**asdict(fold), "start": from_micros(fold.start).isoformat()} for fold in folds],
        "importance": {name: float(gain) for name, gain in zip(data.manifest.features, gains, strict=True)},
    }


def _golden(test: Split) -> NDArray[np.float32]:
    """Vectors spread evenly over the test fold."""
    rows = np.linspace(0, len(test.query) - 1, min(_GOLDEN_REQUESTS, len(test.query))).astype(np.int64)
    return test.features[np.unique(rows)]


def _mean_or_none(per_query: NDArray[np.float64]) -> float | None:
    return None if np.isnan(per_query).all() else ndcg.mean(per_query)


def main() -> None:
    """Run as a training job."""
    base = sagemaker_job.base_dir()
    path = base / "input" / "config" / "hyperparameters.json"
    try:
        parameters = TrainHyperparameters.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as broken:
        raise sagemaker_job.JobError(f"{path} cannot be used: {broken}") from broken
    data = training_set.read(base / "input" / "data" / "training_set")
    package = base / "model"
    if package.exists():
        for leftover in package.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    trained = train(data, parameters, package)
    run_id = tracking.log_run(
        parameters.mlflow_experiment,
        parameters.run_name,
        package,
        parameters={
            **parameters.model_dump(exclude={"mlflow_experiment", "run_name"}),
            "rounds": trained.metrics["rounds"],
            "chosen_num_leaves": trained.metrics["num_leaves"],
        },
        metrics={
            **{name: value for name, value in trained.metrics.items() if isinstance(value, int | float)},
            **{f"importance.{name}": gain for name, gain in trained.metrics["importance"].items()},
        },
        series={
            f"fold_{name}": [fold[name] for fold in trained.metrics["folds"]]
            for name in ("ndcg_at_10", "logged_order_ndcg_at_10")
        },
        tags={
            packages.DIGEST_TAG: trained.digest,
            "training_set_digest": data.manifest.content_digest,
            "fingerprint": data.manifest.fingerprint,
        },
    )
    result = {"mlflow_run_id": run_id, "package_digest": trained.digest, **trained.metrics}
    output = base / "output" / "data"
    output.mkdir(parents=True, exist_ok=True)
    (output / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sagemaker_job.run_job("training", main)
