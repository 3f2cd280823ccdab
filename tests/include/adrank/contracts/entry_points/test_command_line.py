"""Flags: rendered by who starts a program, parsed by the program, and refused by name where they are wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from pydantic import Field
from pydantic_settings import CliExplicitFlag, CliVariadicArg

from adrank.contracts.entry_points.command_line import (
    Day,
    EntryPointArguments,
    Hour,
    Time,
    UnknownArgumentError,
    WholeHour,
    setting,
)
from adrank.contracts.settings import Labels, Settings


class Program(EntryPointArguments):
    """All kinds of flags."""

    program = "program.py"

    bucket: str = setting(lambda s: s.lake.bucket)
    group: list[str] = []
    ratio: CliVariadicArg[tuple[float, float]] = (0, 1)
    store: Literal["redis", "dynamodb"] = "redis"
    redis_tls: bool = False
    recompute: CliExplicitFlag[bool] = True
    hour: Hour | None = None
    whole: WholeHour | None = None
    day: Day | None = None
    since: Time | None = Field(default=None, alias="from")
    lag: timedelta = setting(lambda s: s.billing.lag, default=timedelta(0))
    labels: Labels = Labels()


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERYTHING = {
    "bucket": "b",
    "group": ["one", "2"],
    "ratio": (0.5, 2.0),
    "store": "dynamodb",
    "redis_tls": True,
    "recompute": False,
    "hour": NOON,
    "whole": NOON,
    "day": datetime(2026, 3, 1, tzinfo=UTC),
    "lag": timedelta(hours=3),
    "labels": Labels(click=7, maturity=timedelta(hours=2)),
}


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        Program.parse(words)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_is_rendered_is_what_is_parsed() -> None:
    words = Program.command_line(**EVERYTHING, since=NOON)
    assert words[:9] == ["--bucket", "b", "--group", "one", "--group", "2", "--ratio", "0.5", "2.0"]
    assert words[11:14] == ["--redis-tls", "--recompute", "false"]
    assert words[-2:] == ["--from", "2026-03-01T12:00:00+00:00"]
    parsed = Program.parse(words)
    assert {name: getattr(parsed, name) for name in EVERYTHING} == EVERYTHING
    assert parsed.since == NOON


def test_a_jinja_template_stands_as_it_is_and_nothing_renders_no_flag() -> None:
    words = Program.command_line(hour="{{ ts }}", recompute="{{ params.recompute | lower }}", day=None, redis_tls=False)
    assert words == ["--hour", "{{ ts }}", "--recompute", "{{ params.recompute | lower }}"]


def test_a_flag_that_a_program_does_not_have_is_refused_before_it_is_started() -> None:
    with pytest.raises(UnknownArgumentError, match=r"program\.py has no redis_tsl; it has bucket, group, "):
        Program.command_line(bucket="b", redis_tsl=True)


def test_settings_decide_what_they_decide() -> None:
    assert Program.from_settings(Settings()) == {"bucket": "adrank-lake", "lag": timedelta(hours=3)}


def test_no_variable_of_the_environment_fills_a_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in Program.model_fields:
        monkeypatch.setenv(name, "{}")
        monkeypatch.setenv(name.upper(), "{}")
    assert Program.parse(["--bucket", "b"]) == Program(bucket="b")
    assert refusal(capsys) == "program.py: error: argument --bucket: Field required"


def test_words_of_this_process_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program.py", "--bucket", "null"])
    assert Program.parse().bucket == "null"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--store", "s3"], "argument --store: Input should be 'redis' or 'dynamodb'"),
        (["--redis-tsl"], "unrecognized arguments: --redis-tsl"),
        (["--bucket"], "argument --bucket: expected one argument"),
        (["--ratio", "0.5"], "argument --ratio: Field required"),
        (["--recompute", "perhaps"], "argument --recompute: Input should be a valid boolean"),
        (["--hour", "noon"], "argument --hour: Invalid isoformat string: 'noon'"),
        (["--hour", "2026-03-01T12:00"], "argument --hour: 2026-03-01T12:00:00 has no time zone"),
        (["--whole", "2026-03-01T12:30Z"], "argument --whole: 2026-03-01T12:30:00+00:00 is not a whole hour"),
        (["--day", "2026-03-01T05:00Z"], "argument --day: 2026-03-01T05:00:00+00:00 is not the start of a UTC day"),
        (["--from", "1772366400"], "argument --from: Invalid isoformat string"),
        (["--lag", "soon"], "argument --lag: "),
        (["--labels", '{"max_grade": 99}'], "argument --labels.max-grade: Input should be less than or equal to 30"),
        (["--labels", "click"], '"labels"'),
    ],
)
def test_a_wrong_command_line_ends_with_code_2_and_a_line_that_names_the_flag(
    capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    line = refusal(capsys, "--bucket", "b", *words)
    assert line.startswith("program.py: error: ")
    assert reason in line


def test_times_are_read_in_utc() -> None:
    parsed = Program.parse(["--bucket", "b", "--hour", "2026-03-01T12:59:59+05:30", "--day", "2026-03-01"])
    assert parsed.hour == datetime(2026, 3, 1, 7, tzinfo=UTC)
    assert parsed.day == datetime(2026, 3, 1, tzinfo=UTC)


def test_help_tells_the_flags_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Program.parse(["--help"])
    assert ended.value.code == 0
    assert "--redis-tls" in capsys.readouterr().out
