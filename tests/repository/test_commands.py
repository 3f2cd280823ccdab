"""CI, pre-commit and the Makefile run the same things."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def recipe(target: str) -> str:
    command = ["make", "--dry-run", "--no-print-directory", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_a_commit_runs_what_make_lint_runs_and_a_push_what_make_check_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    assert [(hook["entry"], hook["stages"]) for hook in hooks] == [
        ("make lint", ["pre-commit"]),
        ("make check", ["pre-push"]),
    ]
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in hooks)


def test_lint_checks_style_layout_and_types() -> None:
    commands = recipe("lint")
    for tool in ("ruff check", "ruff format --check", "mypy"):
        assert f".venv/bin/{tool} " in commands
    for house in ("plugins", "include", "deploy", "local"):
        assert re.search(rf"bin/mypy .*\b{house}\b", commands)


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert "\nmake test" in script.read_text()


def test_make_test_lints_and_leaves_only_the_long_campaigns_out() -> None:
    commands = recipe("test")
    assert "ruff check" in commands
    assert re.search(r'pytest .*-m "not verify" ', commands)


def test_make_check_lints_and_starts_neither_a_server_nor_spark() -> None:
    commands = recipe("check")
    assert "ruff check" in commands
    assert '-m "not verify and not spark and not stack and not e2e"' in commands


def test_only_the_campaigns_set_up_a_browser() -> None:
    assert "stack.setup --browser" in recipe("verify")
    assert "stack.setup\n" in recipe("demo") + recipe("test")
    assert "--browser" not in recipe("demo") + recipe("test")


def test_every_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    explained = re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE)
    assert sorted(phony.group(1).split()) == sorted(explained)


def test_a_demo_on_bad_logs_ends_with_what_is_wrong_and_touches_nothing(tmp_path: Path) -> None:
    header = "event_id,event_type,event_time,user_id,search_id,ad_id,position"
    (tmp_path / "events.csv").write_text(f"{header}\ne1,impression,2026-01-01T00:00:00Z,u,s,a,first\n")
    command = ["make", "--old-file=setup", "--no-print-directory", "demo", f"DATA={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    last_line = (done.stdout + done.stderr).splitlines()[-1]
    assert "events.csv: row 1 (line 2): column position: 'first' is not a number" in last_line
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]
