"""Processing job: what the gate needs to know about a candidate, measured on the frozen test fold.

Inputs ``training_set`` and ``candidate`` (``model.tar.gz``), optionally ``production`` (``model.tar.gz``); output
``evidence``: ``evidence.json`` (:class:`adrank.decisions.gate.GateEvidence`) and ``per_query.parquet``.

Clicks are where users looked, and users look where production put things: on its own log, production looks better than
it is. Every answer is therefore weighted by the inverse of the propensity that its position was examined, which is
estimated on the training split (:func:`examination`).

``python -m training.evaluate [--confidence C] [--min-propensity P] [--candidate-digest D] [--production-digest D]``
"""

from __future__ import annotations

import logging
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adrank.contracts import packages, registry
from adrank.contracts.entry_points.training import Evaluate
from adrank.decisions.gate import Difference, GateEvidence, Objective, ObjectiveEvidence, PackageEvidence
from adrank.ranking.examination import curve, fit
from adrank.ranking.ranker import Ranker, load_golden, load_package
from adrank.runtime import sagemaker_job
from training.dataset import training_set
from training.dataset.training_set import TrainingSet
from training.model import lambdarank, ndcg, package

_log = logging.getLogger(__name__)
_SAMPLES: Final = 2000
_SEED: Final = 20


class PackageArchiveError(sagemaker_job.JobError):
    """An input holds no readable ``model.tar.gz``."""


def evaluate(
    data: TrainingSet,
    candidate: Path,
    production: Path | None,
    output: Path,
    *,
    confidence: float,
    min_propensity: float,
    candidate_digest: str | None = None,
    production_digest: str | None = None,
) -> GateEvidence:
    """Compare package directories on the test fold and write the evidence to ``output``.

    A package of another feature registry raises :class:`adrank.contracts.registry.RegistryMismatchError`: its vectors
    cannot be built here.
    """
    test = data.test
    rankers = {"candidate": load_package(candidate)}
    if production is not None:
        rankers["production"] = load_package(production)
    scores = {name: ranker.score(data.vectors(test, ranker.features)) for name, ranker in rankers.items()}
    scores["logged_order"] = lambdarank.logged_order(test)

    train = data.train
    examined = examination(train.ad, train.position, (train.grade > 0).astype(np.int64), min_propensity)
    corrected = 1 / examined[np.minimum(test.position, len(examined)) - 1]
    gains: dict[Objective, NDArray[np.float64]] = {
        "relevance": test.grade.astype(np.float64),
        "contact": test.contact.astype(np.float64),
        "revenue": np.maximum(test.revenue, 0),
    }
    columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {"query": np.arange(test.queries)}
    objectives = {}
    for objective, observed in gains.items():
        gain = observed * corrected
        weight = np.bincount(test.query, weights=gain, minlength=test.queries).astype(np.float64)
        reached = {name: ndcg.per_query(test.query, gain, score) for name, score in scores.items()}
        columns |= {f"{objective}.{name}": values for name, values in reached.items()} | {f"{objective}.weight": weight}
        as_logged = {name: ndcg.per_query(test.query, observed, score) for name, score in scores.items()}
        objectives[objective] = _objective(reached, weight, as_logged, confidence)
    evidence = GateEvidence(
        training_set_digest=data.manifest.content_digest,
        fingerprint=registry.load().fingerprint,
        test_queries=test.queries,
        confidence=confidence,
        bootstrap_samples=_SAMPLES,
        seed=_SEED,
        examination=tuple(examined.tolist()),
        candidate=_package(rankers["candidate"], candidate, candidate_digest),
        production=_package(rankers["production"], production, production_digest) if production else None,
        objectives=objectives,
    )
    output.mkdir(parents=True, exist_ok=True)
    candidates = np.bincount(test.query, minlength=test.queries)
    pq.write_table(pa.table({**columns, "candidates": candidates}), output / "per_query.parquet")
    (output / "evidence.json").write_text(evidence.model_dump_json(indent=2), encoding="utf-8")
    return evidence


def examination(
    ad: NDArray[np.int64], position: NDArray[np.int64], click: NDArray[np.int64], floor: float
) -> NDArray[np.float64]:
    """Examination of positions 1, 2, ... relative to the first, ``[positions]``, not rising and at least ``floor``.

    All arguments are ``[impressions]``; ``ad`` holds numbers 0, 1, ..., ``position`` is 1-based.

    :raises ValueError: there is no click to learn from
    """
    return curve(fit(ad, position, np.ones(len(ad), dtype=np.int64), click), floor)


def _objective(
    reached: dict[str, NDArray[np.float64]],
    weight: NDArray[np.float64],
    as_logged: dict[str, NDArray[np.float64]],
    confidence: float,
) -> ObjectiveEvidence:
    positive = int((~np.isnan(reached["candidate"])).sum())
    if not positive:
        return ObjectiveEvidence(positive_queries=0)

    def versus(other: str, ndcgs: dict[str, NDArray[np.float64]], weights: NDArray[np.float64]) -> Difference | None:
        if other not in ndcgs:
            return None
        return ndcg.paired_difference(ndcgs["candidate"], ndcgs[other], weights, confidence, _SAMPLES, _SEED)

    return ObjectiveEvidence(
        positive_queries=positive,
        candidate=ndcg.mean(reached["candidate"], weight),
        logged_order=ndcg.mean(reached["logged_order"], weight),
        production=ndcg.mean(reached["production"], weight) if "production" in reached else None,
        versus_production=versus("production", reached, weight),
        versus_production_as_logged=versus("production", as_logged, np.ones_like(weight)),
        versus_logged_order=versus("logged_order", reached, weight),
    )


def _package(ranker: Ranker, directory: Path, expected_digest: str | None) -> PackageEvidence:
    golden = load_golden(directory)
    error = 0.0
    if golden.vectors:
        scores = ranker.score(package.golden_matrix(golden))
        error = float(np.abs(scores - np.array(golden.scores)).max())
    return PackageEvidence(
        digest=ranker.digest,
        expected_digest=expected_digest,
        fingerprint=ranker.card.fingerprint,
        golden_requests=len(golden.vectors),
        golden_error=error,
        training_set_digest=ranker.card.training_set_digest,
    )


def _unpacked(directory: Path, into: Path) -> Path:
    archives = sorted(directory.rglob("*.tar.gz"))
    if len(archives) != 1:
        raise PackageArchiveError(f"{directory} holds {len(archives)} model archives, expected one model.tar.gz")
    try:
        packages.unpack(archives[0], into)
    except (tarfile.TarError, OSError) as broken:
        raise PackageArchiveError(f"{archives[0]} cannot be unpacked: {broken}") from broken
    return into


def main() -> None:
    """Run as a processing job."""
    args = Evaluate.parse()
    data = training_set.read(sagemaker_job.processing_input("training_set"))
    production = sagemaker_job.optional_input("production")
    with tempfile.TemporaryDirectory() as scratch:
        evidence = evaluate(
            data,
            _unpacked(sagemaker_job.processing_input("candidate"), Path(scratch) / "candidate"),
            _unpacked(production, Path(scratch) / "production") if production else None,
            sagemaker_job.processing_output("evidence"),
            confidence=args.confidence,
            min_propensity=args.min_propensity,
            candidate_digest=args.candidate_digest or None,
            production_digest=args.production_digest or None,
        )
    _log.info("%s", evidence.model_dump_json())


if __name__ == "__main__":
    sagemaker_job.run_job("processing", main)
