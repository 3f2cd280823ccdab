"""A signal that comes while the demo is still being imported ends it with one line, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: A demo whose import takes long enough to get a signal, from itself.
PROGRAM = """
import os, signal, sys, types
from demo import __main__

class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == "demo.command":
            signal.raise_signal(int(sys.argv[1]))

sys.meta_path.insert(0, Importing())
sys.exit(__main__.main())
"""


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 1)], ids=["SIGINT", "SIGTERM"])
def test_it_is_stopped_by_one_line_and_its_exit_code(number: int, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number)],
        env={"PYTHONPATH": f"{ROOT / 'include'}:{ROOT / 'local'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert done.stderr == "stopped: interrupted before the first stage\n"
