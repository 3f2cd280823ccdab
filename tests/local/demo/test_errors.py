"""What is wrong with options or logs is said at once, as the last line, before anything is touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo import command as demo

ROOT = Path(__file__).resolve().parents[3]
HEADER = "event_id,event_type,event_time,user_id,search_id,ad_id,position\n"
ROW = "e{n},impression,2026-01-01T10:00:{n:02}Z,u,q{n},a,{position}\n"


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was stopped, wiped or started")

    monkeypatch.setattr(demo, "run", refuse)
    monkeypatch.setattr(demo, "alone", refuse)


def events(directory: Path, text: str | bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    (directory / "events.csv").write_bytes(content)
    return directory


def rows(position: str = "1") -> str:
    return "".join(ROW.format(n=n, position=position if n == 17 else 1) for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (HEADER + rows(position="first"), ("events.csv", "row 17", "position")),
        (HEADER.replace(",position", "") + "e,impression,2026-01-01T10:00:00Z,u,q,a\n", ("events.csv", "position")),
        ("", ("events.csv", "empty")),
        (HEADER.encode() + b"\xff\xfe\xfa,impression\n", ("events.csv", "UTF-8")),
    ],
    ids=["wrong type in row 17", "missing column", "empty file", "not UTF-8"],
)
def test_a_broken_log_is_named(
    text: str | bytes, parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main({"DATA": str(events(tmp_path / "logs", text))}) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert [part for part in parts if part not in last] == []


def test_a_directory_without_events_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main({"DATA": str(tmp_path)}) == 1
    assert str(tmp_path) in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("options", [{"SEED": "seven"}, {"SEED": "-1"}, {"APPROVE": "yes"}, {"STALL_SECONDS": "0"}])
def test_an_option_that_means_nothing_is_refused(options: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(options) == 1
    name, value = next(iter(options.items()))
    assert f"{name}={value}" in capsys.readouterr().err


def test_the_command_line_says_so_too(tmp_path: Path) -> None:
    logs = events(tmp_path / "logs", HEADER + rows(position="first"))
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        env={"PYTHONPATH": f"{ROOT / 'include'}:{ROOT / 'local'}", "DATA": str(logs)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "row 17" in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_two_demos_do_not_share_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(demo, "HOME", tmp_path / "demo")
    with demo.alone():
        with pytest.raises(demo.DemoRunsError, match="another demo is running"):
            with demo.alone():
                pass
    with demo.alone():
        pass
