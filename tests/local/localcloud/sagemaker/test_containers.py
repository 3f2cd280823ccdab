"""Images and the ``/opt/ml`` contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.sagemaker import containers, images
from localcloud.storage.lake_directory import LakeDirectory, LakeError


def test_images_are_found_by_repository_name_and_unknown_ones_are_not(tmp_path: Path) -> None:
    catalogue = tmp_path / "images.yaml"
    catalogue.write_text("images: {adrank-serving: {workdir: ., serve: [python, -m, serving.inference.app]}}")
    image = images.find("000000000000.dkr.ecr.eu-west-1.amazonaws.com/adrank-serving:current", catalogue)
    assert images.command(image.serve, Path("/venv/bin/python")) == ["/venv/bin/python", "-m", "serving.inference.app"]
    with pytest.raises(images.UnknownImageError, match="cannot pull image adrank-serving-2:1"):
        images.find("adrank-serving-2:1", catalogue)


def test_nothing_leaves_the_lake_or_the_container(tmp_path: Path) -> None:
    with pytest.raises(LakeError):
        LakeDirectory(tmp_path).path("s3://bucket/../../etc/passwd")
    with pytest.raises(LakeError):
        LakeDirectory(tmp_path).path("file:///etc/passwd")
    with pytest.raises(containers.DataError):
        containers.inside(tmp_path, "/opt/ml/../../etc")
    with pytest.raises(containers.DataError):
        containers.inside(tmp_path, "/etc")
