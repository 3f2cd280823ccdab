"""Reasons of failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.processes.failure import last_error


@pytest.mark.parametrize(
    ("out", "err", "message"),
    [
        ("Traceback\nValueError: row 17\nbye\n", "26/01/01 00:00:00 WARN Native: no library\n", "ValueError: row 17"),
        (
            "",
            "Traceback\n  File x\nadrank.GateError: no\n26/01/01 00:00:00 INFO stop\n",
            "adrank.GateError: no",
        ),
        ("expectation failed\n", 'Setting Spark log level to "WARN".\n', "expectation failed"),
        ("", "", ""),
    ],
)
def test_the_reason_of_a_failure_is_its_last_error(tmp_path: Path, out: str, err: str, message: str) -> None:
    (tmp_path / "out").write_text(out)
    (tmp_path / "err").write_text(err)
    assert last_error(tmp_path / "out", tmp_path / "err")[0] == message
