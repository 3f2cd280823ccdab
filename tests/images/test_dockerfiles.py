"""The Dockerfiles agree with the checkout: pinned official bases, sources that exist, no root at run time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = (
    "Dockerfile",
    "include/ingestion/Dockerfile",
    "include/training/Dockerfile",
    "include/serving/Dockerfile",
    "local/stack/Dockerfile",
    "local/stack/dynalite.Dockerfile",
)


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str


def parse(text: str) -> list[Instruction]:
    """Instructions in order, continuation lines joined, comments left out."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    split = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [Instruction(word.upper(), rest.strip()) for word, rest in split]


def ignored_by(context_rules: str, path: str) -> bool:
    """Whether .dockerignore (``*``, then exceptions by top-level name) keeps ``path`` out of the context."""
    kept = {line[1:] for line in context_rules.splitlines() if line.startswith("!")}
    return Path(path).parts[0] not in kept


def violations(text: str, root: Path = ROOT, context_rules: str | None = None) -> list[str]:
    """Readable lines, one for each rule broken."""
    rules = (ROOT / ".dockerignore").read_text() if context_rules is None else context_rules
    instructions, found = parse(text), []
    stages: set[str] = set()
    user = "root"
    for instruction in instructions:
        if instruction.word == "FROM":
            image, *alias = instruction.rest.split()
            if image not in stages and not re.search(r":\d+(\.\d+)+", image):
                found.append(f"base image {image} is not pinned")
            stages |= set(alias[1:])
            user = "root"
        elif instruction.word == "USER":
            user = instruction.rest
        elif instruction.word in ("COPY", "ADD"):
            words = instruction.rest.split()
            if any(word.startswith("--from=") for word in words):
                continue
            for source in [word for word in words if not word.startswith("--")][:-1]:
                if not (root / source).exists():
                    found.append(f"copies {source}, which does not exist")
                elif ignored_by(rules, source):
                    found.append(f"copies {source}, which .dockerignore keeps out")
    if user in ("root", "0"):
        found.append("runs as root")
    return found


@pytest.mark.parametrize("path", DOCKERFILES)
def test_a_dockerfile_keeps_the_rules(path: str) -> None:
    assert violations((ROOT / path).read_text()) == []


def test_every_dockerfile_is_checked() -> None:
    there = {
        str(path.relative_to(ROOT)) for house in ("include", "local") for path in (ROOT / house).rglob("*Dockerfile")
    }
    assert {path for path in there if "node_modules" not in path} == set(DOCKERFILES) - {"Dockerfile"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM python:latest\nUSER a", "not pinned"),
        ("FROM python\nUSER a", "not pinned"),
        ("FROM python:3.11-slim", "runs as root"),
        ("FROM python:3.11-slim\nUSER a\nUSER root", "runs as root"),
        ("FROM python:3.11-slim AS a\nUSER a\nFROM python:3.11-slim", "runs as root"),
        ("FROM python:3.11-slim\nCOPY nowhere /x\nUSER a", "copies nowhere, which does not exist"),
        ("FROM python:3.11-slim\nCOPY tests /x\nUSER a", "which .dockerignore keeps out"),
    ],
)
def test_a_broken_rule_is_found(text: str, expected: str) -> None:
    assert any(expected in line for line in violations(text))


def test_the_airflow_image_is_the_official_one_of_the_pinned_version() -> None:
    pinned = re.search(r"^apache-airflow(?:\[.*])?==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    bases = [line.rest for line in parse((ROOT / "Dockerfile").read_text()) if line.word == "FROM"]
    assert pinned
    assert bases[-1] == f"apache/airflow:{pinned.group(1)}-python3.11"


def test_the_airflow_image_holds_no_development_equipment() -> None:
    copied = [line.rest for line in parse((ROOT / "Dockerfile").read_text()) if line.word == "COPY"]
    assert not [line for line in copied if re.search(r"\b(local|tests|requirements-dev)\b", line)]


@pytest.mark.parametrize(("image", "module"), [("training", "training.train"), ("serving", "serving.inference.app")])
def test_a_job_image_runs_its_module(image: str, module: str) -> None:
    instructions = parse((ROOT / "include" / image / "Dockerfile").read_text())
    assert any(module in line.rest for line in instructions if line.word == "RUN")
    assert (ROOT / "include" / Path(*module.split("."))).with_suffix(".py").exists()


@pytest.mark.parametrize(
    ("image", "elsewhere"),
    [
        ("training", "include/ingestion/archiver"),
        ("training", "include/ingestion/capture"),
        ("serving", "include/serving/router"),
    ],
)
def test_a_job_image_holds_no_program_that_runs_elsewhere(image: str, elsewhere: str) -> None:
    instructions = parse((ROOT / "include" / image / "Dockerfile").read_text())
    copied = [word for line in instructions if line.word == "COPY" for word in line.rest.split()[:-1]]
    assert not [source for source in copied if Path(elsewhere).is_relative_to(source)]
