"""One scorer for the incumbent and for learned models, which refuses packages that are not what they say."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from adrank.contracts import packages, registry
from adrank.contracts.registry import RegistryMismatchError
from adrank.ranking.ranker import BrokenPackageError, load_golden, load_package
from training.model import package
from training.package_incumbent import package_incumbent

FEATURES = ("impressions_7d", "context.price")


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(200, 2)).astype(np.float32)
    model = lightgbm.train(
        {"objective": "lambdarank", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5},
        lightgbm.Dataset(vectors, (vectors[:, 1] > 0).astype(int), group=[10] * 20),
        5,
    )
    card = packages.PackageCard(ranker="lambdarank", features=FEATURES, fingerprint=registry.load().fingerprint)
    package.write(tmp_path / "package", card, vectors[:3], {}, model.model_to_string())
    return tmp_path / "package"


def change_card(directory: Path, **changes: object) -> None:
    path = directory / packages.CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class TestIncumbent:
    def test_ranks_by_slot_and_puts_ads_without_a_slot_last(self, tmp_path: Path) -> None:
        digest = package_incumbent(tmp_path)
        ranker = load_package(tmp_path, digest)
        scores = ranker.score(np.array([[3], [np.nan], [1], [2]], dtype=np.float32))
        assert np.argsort(-scores).tolist() == [2, 3, 0, 1]
        assert np.isfinite(scores).all(), "scores must survive JSON"

    def test_is_the_same_package_wherever_it_is_made(self, tmp_path: Path) -> None:
        assert package_incumbent(tmp_path / "one") == package_incumbent(tmp_path / "two")

    def test_reproduces_its_golden_requests(self, tmp_path: Path) -> None:
        package_incumbent(tmp_path)
        golden = load_golden(tmp_path)
        assert load_package(tmp_path).score(package.golden_matrix(golden)).tolist() == list(golden.scores)

    def test_needs_its_slot(self, tmp_path: Path) -> None:
        package_incumbent(tmp_path)
        change_card(tmp_path, features=["impressions_7d"])
        with pytest.raises(BrokenPackageError, match=r"needs feature context\.slot"):
            load_package(tmp_path)


class TestLearned:
    def test_scores_rows_of_float32_as_float64(self, learned: Path) -> None:
        ranker = load_package(learned)
        scores = ranker.score(np.array([[0, -2], [0, 2], [np.nan, np.nan]], dtype=np.float32))
        assert scores.dtype == np.float64
        assert scores[1] > scores[0]
        assert ranker.features == FEATURES
        assert ranker.digest == packages.package_digest(learned)

    def test_scores_no_rows(self, learned: Path) -> None:
        assert load_package(learned).score(np.empty((0, 2), dtype=np.float32)).shape == (0,)

    def test_a_vector_of_another_width_is_refused(self, learned: Path) -> None:
        with pytest.raises(ValueError, match=r"shape \[n, 2\], got \[1, 3\]"):
            load_package(learned).score(np.zeros((1, 3), dtype=np.float32))


class TestRefusals:
    def test_another_digest(self, learned: Path) -> None:
        with pytest.raises(packages.PackageDigestError, match="expected 0000"):
            load_package(learned, "0" * 64)

    def test_another_feature_registry(self, learned: Path) -> None:
        change_card(learned, fingerprint="0" * 64)
        with pytest.raises(RegistryMismatchError, match=r"only there: context\.price"):
            load_package(learned)

    def test_a_model_of_another_width_than_the_card(self, learned: Path) -> None:
        change_card(learned, features=["impressions_7d"])
        with pytest.raises(BrokenPackageError, match=r"takes 2 features, package\.json names 1"):
            load_package(learned)

    @pytest.mark.parametrize("name", [packages.CARD, packages.MODEL])
    def test_a_missing_file(self, learned: Path, name: str) -> None:
        (learned / name).unlink()
        with pytest.raises(BrokenPackageError, match=name):
            load_package(learned)

    def test_a_broken_model(self, learned: Path) -> None:
        (learned / packages.MODEL).write_text("not a model")
        with pytest.raises(BrokenPackageError, match=r"model\.txt is not a LightGBM model"):
            load_package(learned)

    def test_broken_golden_requests(self, learned: Path) -> None:
        (learned / packages.GOLDEN).write_text("{}")
        with pytest.raises(BrokenPackageError, match=r"golden\.json cannot be read"):
            load_golden(learned)
