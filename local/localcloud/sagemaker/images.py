"""Maps a container image to a command on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict


class UnknownImageError(LookupError):
    """No entry for the image: as with an image that cannot be pulled."""


class Image(BaseModel):
    """How an image's containers run here: working directory, import path, default commands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workdir: Path
    pythonpath: tuple[Path, ...] = ()
    train: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()

    def relative_to(self, base: Path) -> Image:
        """The same image with its paths made absolute against ``base``."""
        return self.model_copy(
            update={
                "workdir": (base / self.workdir).resolve(),
                "pythonpath": tuple((base / path).resolve() for path in self.pythonpath),
            }
        )

    def environment(self, base: Path) -> dict[str, str]:
        """What tells a container where its code and its ``/opt/ml`` are."""
        return {"PYTHONPATH": os.pathsep.join(map(str, self.pythonpath)), "SAGEMAKER_BASE_DIR": str(base)}


def repository_name(uri: str) -> str:
    """``adrank-serving`` of ``000000000000.dkr.ecr.eu-west-1.amazonaws.com/adrank-serving:current``."""
    return uri.rsplit("/", 1)[-1].split("@")[0].split(":")[0]


def find(uri: str, catalogue: Path) -> Image:
    """The image of that URI in the catalogue file; raises :class:`UnknownImageError`."""
    declared = yaml.safe_load(catalogue.read_text(encoding="utf-8"))["images"]
    name = repository_name(uri)
    if name not in declared:
        raise UnknownImageError(f"cannot pull image {uri}: {catalogue.name} knows {', '.join(sorted(declared))}")
    return Image.model_validate(declared[name]).relative_to(catalogue.parent)


def command(words: tuple[str, ...], python: Path) -> list[str]:
    """The command with a leading ``python`` replaced by the configured interpreter."""
    if words[0] in ("python", "python3"):
        return [str(python), *words[1:]]
    return list(words)
