"""The one environment of every process: pure, complete, without secrets, and pointing nowhere but here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from adrank.contracts.settings import Settings
from stack import credentials
from stack.environment import environment, process_environment
from stack.settings import StackSettings


def test_it_is_pure(stack: StackSettings) -> None:
    before = list(stack.home.iterdir())
    assert environment(stack) == environment(stack)
    assert list(stack.home.iterdir()) == before


def test_every_address_in_it_is_loopback(stack: StackSettings) -> None:
    addresses = re.findall(r"(?:https?|postgresql[+\w]*)://(?:\w+@)?([^:/]+)", json.dumps(environment(stack)))
    assert len(addresses) > 5
    assert set(addresses) == {"127.0.0.1"}


def test_it_holds_none_of_the_generated_secrets(stack: StackSettings) -> None:
    credentials.ensure(stack)
    text = json.dumps(environment(stack))
    assert credentials.postgres_password(stack) not in text
    assert credentials.airflow_password(stack, "admin") not in text
    assert "FERNET" not in text


def test_the_lifecycles_settings_accept_it(stack: StackSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.online.redis_port == stack.ports.redis
    assert settings.online.redis_tls is False
    assert settings.training.mlflow_tracking_uri == f"http://127.0.0.1:{stack.ports.mlflow}"


def test_tasks_reach_the_api_server_on_the_chosen_port(stack: StackSettings) -> None:
    variables = environment(stack)
    assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == f"http://127.0.0.1:{stack.ports.airflow}/execution/"
    assert variables["AIRFLOW__API__BASE_URL"] == f"http://127.0.0.1:{stack.ports.airflow}"


def test_a_demo_may_add_to_it_and_wins(stack: StackSettings) -> None:
    changed = stack.model_copy(update={"extra_environment": {"ADRANK_EXPERIMENT__SHARE": "0.5", "TZ": "Asia/Tokyo"}})
    assert environment(changed)["ADRANK_EXPERIMENT__SHARE"] == "0.5"
    assert environment(changed)["TZ"] == "Asia/Tokyo"


def test_what_the_user_has_set_for_other_clouds_does_not_leak_in(stack: StackSettings) -> None:
    theirs = {"AWS_PROFILE": "work", "AIRFLOW_HOME": "/theirs", "PGHOST": "db", "ADRANK_REGION": "x", "HOME": "/h"}
    seen = process_environment(stack, theirs)
    assert "AWS_PROFILE" not in seen
    assert "PGHOST" not in seen
    assert seen["AIRFLOW_HOME"] == str(stack.home / "airflow")
    assert seen["ADRANK_REGION"] == "eu-west-1"
    assert seen["HOME"] == "/h"


def test_two_stacks_share_no_address_and_no_file(stack: StackSettings, tmp_path: Path) -> None:
    other = StackSettings(home=tmp_path, port_base=29000)
    same = {
        key: value
        for key, value in environment(stack).items()
        if environment(other)[key] == value and ("127.0.0.1:" in value or str(stack.home) in value)
    }
    assert same == {}
