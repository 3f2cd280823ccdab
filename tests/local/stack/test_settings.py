"""Where a stack's files and ports are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from stack import paths
from stack.settings import PORT_LABELS, Ports, StackSettings


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have moved a stack of their own."""
    for name in [name for name in os.environ if name.startswith("STACK_")]:
        monkeypatch.delenv(name)


def test_ports_are_numbered_from_the_base() -> None:
    assert list(StackSettings(port_base=9000).ports.numbers().values()) == list(range(9000, 9000 + len(PORT_LABELS)))


def test_one_port_can_be_moved_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_PORTS__AIRFLOW", "9999")
    ports = StackSettings().ports
    assert (ports.airflow, ports.mlflow) == (9999, 8081)


def test_the_base_can_be_moved_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_PORT_BASE", "9000")
    assert StackSettings().ports.airflow == 9000


def test_a_port_used_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"8081 \(airflow and mlflow\)"):
        StackSettings.model_validate({"ports": {"airflow": 8081}})


@pytest.mark.parametrize("port", [80, 0, 70000])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(ValidationError, match="mlflow"):
        StackSettings.model_validate({"ports": {"mlflow": port}})


def test_an_unknown_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_PORTS__ZOOKEEPER", "2181")
    with pytest.raises(ValidationError, match="zookeeper"):
        StackSettings()


def test_every_port_has_a_name_for_people() -> None:
    assert set(PORT_LABELS) == set(Ports.model_fields)


def test_the_control_socket_lies_under_home_unless_home_is_too_deep_for_a_socket() -> None:
    assert paths.supervisor_socket(StackSettings(home=Path("/srv/stack"))) == Path("/srv/stack/supervisor.sock")
    deep = StackSettings(home=Path("/srv") / ("x" * 100))
    assert len(str(paths.supervisor_socket(deep))) < 96
    assert paths.supervisor_socket(deep) != paths.supervisor_socket(StackSettings(home=Path("/srv") / ("y" * 100)))
