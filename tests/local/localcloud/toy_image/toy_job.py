"""Entry points of toy jobs: `train`, `process`, `explode`, `wait`."""

import json
import os
import sys
import time
from pathlib import Path

base = Path(os.environ["SAGEMAKER_BASE_DIR"])


def files_under(directory: Path) -> dict[str, str]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_text() for path in found}


def train() -> None:
    parameters = json.loads((base / "input/config/hyperparameters.json").read_text())
    (base / "model/word.txt").write_text(parameters["word"])
    seen = {"parameters": parameters, "data": files_under(base / "input/data"), "greeting": os.environ["GREETING"]}
    (base / "output/data/result.json").write_text(json.dumps(seen))


def process() -> None:
    seen = {"arguments": sys.argv[2:], "inputs": files_under(base / "processing/input")}
    (base / "processing/output/seen/seen.json").write_text(json.dumps(seen))


def explode() -> None:
    if "--message" in sys.argv:
        (base / "output/message").write_text("row 17 is wrong")
    if "--failure" in sys.argv:
        (base / "output/failure").write_text("no positive queries")
    raise ValueError("boom")


def wait() -> None:
    (base / "output/started").touch()
    time.sleep(600)


{"train": train, "process": process, "explode": explode, "wait": wait}[sys.argv[1]]()
