"""The model package and the digest that it is approved and served by."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from adrank.contracts import packages
from adrank.contracts.packages import PackageCard, PackageDigestError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "package"
    (directory / "extra").mkdir(parents=True)
    (directory / packages.MODEL).write_text("tree")
    (directory / "extra" / "notes.txt").write_text("notes")
    return directory


def test_the_digest_is_of_names_and_content_wherever_the_package_lies(package: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(package, tmp_path / "elsewhere")
    assert packages.package_digest(copied) == packages.package_digest(package)


def test_other_content_another_name_or_one_file_more_is_another_digest(package: Path) -> None:
    digests = {packages.package_digest(package)}
    (package / packages.MODEL).write_text("another tree")
    digests.add(packages.package_digest(package))
    (package / packages.MODEL).rename(package / "model2.txt")
    digests.add(packages.package_digest(package))
    (package / "empty").touch()
    digests.add(packages.package_digest(package))
    assert len(digests) == 4


def test_packing_and_unpacking_keep_the_digest(package: Path, tmp_path: Path) -> None:
    packages.pack(package, tmp_path / "model.tar.gz")
    packages.unpack(tmp_path / "model.tar.gz", tmp_path / "unpacked")
    packages.require_digest(tmp_path / "unpacked", packages.package_digest(package))


def test_a_package_that_was_not_asked_for_is_refused(package: Path) -> None:
    with pytest.raises(PackageDigestError, match=r"has digest .*, expected 0000"):
        packages.require_digest(package, "0000")


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../escaped.txt")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(tarfile.OutsideDestinationError):
        packages.unpack(archive, tmp_path / "unpacked")
    assert not (tmp_path / "escaped.txt").exists()


def test_a_card_names_a_known_ranker_and_nothing_unknown() -> None:
    card = PackageCard(ranker="fixed_slots", features=("context.slot",), fingerprint="f")
    assert PackageCard.model_validate_json(card.model_dump_json()) == card
    with pytest.raises(ValidationError, match="ranker"):
        PackageCard.model_validate({**card.model_dump(), "ranker": "random"})
    with pytest.raises(ValidationError, match="run_id"):
        PackageCard.model_validate({**card.model_dump(), "run_id": "r"})
