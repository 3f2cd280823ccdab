"""localcloud's settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from localcloud.settings import LocalcloudSettings


def test_configuration_refuses_unknown_and_impossible_values(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError):
        LocalcloudSettings(port=0)
    with pytest.raises(ValidationError):
        LocalcloudSettings(prot=5050)  # type: ignore[call-arg]
    with monkeypatch.context() as misspelt:
        misspelt.setenv("LOCALCLOUD_PROT", "5999")
        with pytest.raises(ValidationError, match="unknown settings in the environment: LOCALCLOUD_PROT"):
            LocalcloudSettings()
    monkeypatch.setenv("LOCALCLOUD_PORT", "5999")
    assert LocalcloudSettings().client_environment()["AWS_ENDPOINT_URL_EMR"] == "http://127.0.0.1:5999"


def test_children_see_nothing_of_this_process_but_what_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere")
    monkeypatch.setenv("AWS_PROFILE", "production")
    environment = LocalcloudSettings(environment={"EXTRA": "1"}).child_environment()
    assert environment["EXTRA"] == "1"
    assert environment["AWS_REGION"] == "eu-west-1"
    assert not {"AIRFLOW_HOME", "AWS_PROFILE", "PYTHONPATH"} & environment.keys()
