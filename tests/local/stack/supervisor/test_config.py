"""The rendered configuration is what supervisord itself understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from supervisor.datatypes import RestartUnconditionally
from supervisor.options import ServerOptions

from localcloud.settings import LocalcloudSettings
from stack import paths
from stack.environment import process_environment
from stack.servers.programs import Program, programs
from stack.settings import StackSettings
from stack.supervisor.config import UnfitForConfigError, render

BUS = ("kafka", "broker-objects", "objects")


def understood(stack: StackSettings, text: str) -> dict[str, Any]:
    """Program -> supervisord's own reading of its section."""
    paths.logs(stack).mkdir(parents=True, exist_ok=True)
    paths.supervisor_config(stack).write_text(text)
    options = ServerOptions()
    options.configfile = str(paths.supervisor_config(stack))
    options.process_config(do_usage=False)
    return {process.name: process for group in options.process_group_configs for process in group.process_configs}


def test_supervisord_reads_every_program_as_meant(stack: StackSettings) -> None:
    expected = programs(stack)
    seen = understood(stack, render(stack, expected))
    assert sorted(seen) == sorted(program.name for program in expected)
    for program in expected:
        assert seen[program.name].environment == dict(program.environment)
        assert seen[program.name].stdout_logfile == str(paths.log(stack, program.name))


def test_a_crash_restarts_a_program_but_only_the_lifecycle_starts_it(stack: StackSettings) -> None:
    for program in understood(stack, render(stack, programs(stack))).values():
        assert program.autostart is False
        assert program.autorestart is RestartUnconditionally
        assert program.killasgroup is True


def test_servers_that_end_their_own_children_are_stopped_alone(stack: StackSettings) -> None:
    seen = understood(stack, render(stack, programs(stack)))
    assert {name for name, program in seen.items() if not program.stopasgroup} == {
        "postgres",
        "objects",
        "broker-objects",
        "dynalite",
        "localcloud",
    }


def test_the_broker_keeps_its_log_where_nobody_elses_traffic_goes(stack: StackSettings) -> None:
    seen = understood(stack, render(stack, programs(stack)))
    broker, log, lake = (process_environment(stack, {}) | seen[name].environment for name in BUS)
    assert broker["AWS_ENDPOINT_URL_S3"] == f"http://127.0.0.1:{log['LOCALCLOUD_S3_PORT']}"
    assert broker["AWS_ENDPOINT_URL_S3"] != process_environment(stack, {})["AWS_ENDPOINT_URL_S3"]
    for own in ("LOCALCLOUD_S3_PORT", "LOCALCLOUD_LAKE_DIR", "LOCALCLOUD_BUCKET"):
        assert log[own] != lake.get(own, LocalcloudSettings().bucket)
    # One switch refuses the writes of both.
    assert log["LOCALCLOUD_STATE_DIR"] == lake["LOCALCLOUD_STATE_DIR"]


def test_odd_values_survive(stack: StackSettings) -> None:
    odd = {"PERCENT": "100%", "JSON": '{"a": "b, c"}', "APOSTROPHE": "it's", "EMPTY": "", "SPACE": "a b"}
    program = Program("odd", ("/bin/echo", "two words", "50%"), odd)
    seen = understood(stack, render(stack, [program]))["odd"]
    assert seen.environment == odd
    assert seen.command == "/bin/echo 'two words' 50%"


@pytest.mark.parametrize("value", ["two\nlines", "both \"kinds' of", "a ; comment"])
def test_a_value_that_the_format_cannot_carry_is_refused(stack: StackSettings, value: str) -> None:
    with pytest.raises(UnfitForConfigError):
        render(stack, [Program("odd", ("/bin/true",), {"VALUE": value})])


def test_every_server_binds_loopback(stack: StackSettings) -> None:
    text = render(stack, programs(stack))
    assert "0.0.0.0" not in text
    assert "--bind 127.0.0.1" in text
    assert "listen_addresses=127.0.0.1" in text


def test_the_control_socket_is_its_owners(stack: StackSettings) -> None:
    assert "chmod=0700" in render(stack, programs(stack))
    assert str(Path(stack.home) / "supervisor.sock") in render(stack, programs(stack))
