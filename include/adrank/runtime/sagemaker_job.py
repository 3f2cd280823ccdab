"""The SageMaker container contract: where a job finds and leaves files, and how it says why it failed."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

_log = logging.getLogger(__name__)


class JobError(RuntimeError):
    """Bad input or an impossible request; the message is all that the reader needs."""


def base_dir() -> Path:
    """The container's SageMaker directory."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def processing_input(name: str) -> Path:
    """Local directory of a processing input that must be there."""
    directory = base_dir() / "processing" / "input" / name
    if not directory.is_dir():
        raise JobError(f"processing input {name!r} is missing: no directory {directory}")
    return directory


def optional_input(name: str) -> Path | None:
    """Local directory of a processing input, or None when the job got none or an empty one."""
    directory = base_dir() / "processing" / "input" / name
    return directory if directory.is_dir() and any(directory.iterdir()) else None


def processing_output(name: str) -> Path:
    """Local directory whose content is uploaded when the job ends."""
    directory = base_dir() / "processing" / "output" / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def run_job(
    kind: Literal["training", "processing"],
    main: Callable[[], None],
    expected: tuple[type[Exception], ...] = (JobError,),
) -> None:
    """Run a job's main; on failure leave the reason where SageMaker looks for it and exit 1.

    Of ``expected`` errors the message is all that the reader needs; any other has a traceback in the log.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        main()
    except Exception as error:
        is_expected = isinstance(error, expected)
        reason = str(error) if is_expected else f"{type(error).__name__}: {error}"
        _log.error("%s", reason if is_expected else traceback.format_exc())
        target = base_dir() / "output" / ("failure" if kind == "training" else "message")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(reason, encoding="utf-8")
        sys.exit(1)
