"""A taken port is named, with its holder and the setting that moves it, before anything starts."""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from stack import lifecycle, ports
from stack.settings import HOST, StackSettings


def test_free_ports_pass(stack: StackSettings) -> None:
    ports.require_free(stack)


def test_each_taken_port_is_named_with_its_holder_and_its_setting(stack: StackSettings) -> None:
    with socket.create_server((HOST, stack.ports.airflow)), socket.create_server((HOST, stack.ports.redis)):
        with pytest.raises(ports.PortTakenError) as caught:
            ports.require_free(stack)
    me = f"pid {os.getpid()} ({psutil.Process().name()})"
    assert str(caught.value).splitlines() == [
        f"port {stack.ports.airflow} (Airflow UI) is taken by {me}; "
        "set STACK_PORTS__AIRFLOW (or STACK_PORT_BASE) to move it",
        f"port {stack.ports.redis} (Redis) is taken by {me}; set STACK_PORTS__REDIS (or STACK_PORT_BASE) to move it",
    ]


def test_nothing_starts_when_a_port_is_taken(stack: StackSettings) -> None:
    with socket.create_server((HOST, stack.ports.mlflow)):
        with pytest.raises(ports.PortTakenError, match="MLflow"):
            lifecycle.start(stack, lambda _line: None)
    assert list(stack.home.iterdir()) == []


def test_a_server_on_every_interface_takes_the_port_too(stack: StackSettings) -> None:
    with socket.create_server(("0.0.0.0", stack.ports.postgres)):
        with pytest.raises(ports.PortTakenError, match="PostgreSQL"):
            ports.require_free(stack)
