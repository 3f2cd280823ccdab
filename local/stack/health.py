"""Asks each server whether it works: quick questions that never wait long, for lifecycle to repeat until a deadline."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import httpx

from stack.environment import url
from stack.servers import kafka, postgres
from stack.settings import HOST, StackSettings
from stack.supervisor.client import SupervisorClient

_TIMEOUT: Final = 5
# No proxy of the user's stands between this machine and itself.
_HTTP: Final = httpx.Client(trust_env=False, timeout=_TIMEOUT)


def checks(stack: StackSettings) -> dict[str, Callable[[], bool]]:
    """Program name -> whether it is healthy now."""
    return {
        "postgres": lambda: postgres.is_ready(stack),
        "redis": lambda: _redis(stack.ports.redis),
        "dynalite": lambda: _listens(stack.ports.dynamodb),
        "kafka": lambda: kafka.is_ready(stack),
        "broker-retention": lambda: SupervisorClient(stack).states().get("broker-retention") == "RUNNING",
        "archiver": lambda: _answers(f"{url(stack, 'archiver')}/metrics"),
        "capture": lambda: _answers(f"{url(stack, 'capture')}/metrics"),
        "billing-exporter": lambda: _answers(f"{url(stack, 'billing')}/metrics"),
        "objects": lambda: _listens(stack.ports.s3),
        "broker-objects": lambda: _listens(stack.ports.broker_s3),
        "localcloud": lambda: _answers(f"{url(stack, 'runtime')}/health") and _listens(stack.ports.localcloud),
        "mlflow": lambda: _answers(f"{url(stack, 'mlflow')}/health"),
        "airflow-apiserver": lambda: _airflow(stack, "metadatabase"),
        "airflow-scheduler": lambda: _airflow(stack, "scheduler"),
        "airflow-dag-processor": lambda: _airflow(stack, "dag_processor"),
        "airflow-triggerer": lambda: _airflow(stack, "triggerer"),
    }


def _airflow(stack: StackSettings, component: str) -> bool:
    response = _get(f"{url(stack, 'airflow')}/api/v2/monitor/health")
    return response is not None and response.json().get(component, {}).get("status") == "healthy"


def _answers(address: str) -> bool:
    return _get(address) is not None


def _get(address: str) -> httpx.Response | None:
    try:
        return _HTTP.get(address).raise_for_status()
    except httpx.HTTPError:
        return None


def _redis(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT):
            return True
    except OSError:
        return False
