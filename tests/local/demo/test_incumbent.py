"""The incumbent bears the names that a promotion would give it, and a deployment that fails is told."""

import itertools
from typing import Any

import pytest

from adrank.contracts import sagemaker_requests
from adrank.contracts.settings import Settings
from demo import incumbent
from stack.stall import ProgressWatch, StalledError

DIGEST, URL = "ab" * 32, "s3://adrank-lake/models/abab/model.tar.gz"


class Cloud:
    """SageMaker: keeps what it was asked for, and describes the endpoint as ``states`` say, one after the other."""

    def __init__(self, *states: str) -> None:
        self.created: dict[str, dict[str, Any]] = {}
        self._states = list(states)

    def create_model(self, **request: Any) -> None:
        self.created["model"] = request

    def create_endpoint_config(self, **request: Any) -> None:
        self.created["config"] = request

    def create_endpoint(self, **request: Any) -> None:
        self.created["endpoint"] = request

    def describe_endpoint(self, EndpointName: str) -> dict[str, str]:  # noqa: N803
        assert EndpointName == Settings().sagemaker.production_endpoint
        return {"EndpointStatus": self._states.pop(0), "FailureReason": "digest differs"}


def test_serves_under_the_names_of_a_promotion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incumbent, "_POLL", 0)
    cloud, settings = Cloud("Creating", "InService"), Settings()
    model = sagemaker_requests.model_request(settings, DIGEST, URL)
    config = sagemaker_requests.config_request(settings, "production", model["ModelName"])
    deployed = incumbent.deploy_endpoint(cloud, settings, DIGEST, URL, ProgressWatch(10, {}))
    assert deployed == config["EndpointConfigName"]
    assert (cloud.created["model"], cloud.created["config"]) == (model, config)
    assert cloud.created["endpoint"]["EndpointConfigName"] == config["EndpointConfigName"]


def test_an_endpoint_that_fails_is_told_with_its_reason() -> None:
    with pytest.raises(incumbent.IncumbentError, match="failed: digest differs"):
        incumbent.deploy_endpoint(Cloud("Failed"), Settings(), DIGEST, URL, ProgressWatch(10, {}))


def test_an_endpoint_that_does_not_get_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incumbent, "_POLL", 0)
    seconds = itertools.count()
    watch = ProgressWatch(5, {}, lambda: float(next(seconds)))
    with pytest.raises(StalledError, match="production is still Creating: no progress"):
        incumbent.deploy_endpoint(Cloud(*["Creating"] * 99), Settings(), DIGEST, URL, watch)
