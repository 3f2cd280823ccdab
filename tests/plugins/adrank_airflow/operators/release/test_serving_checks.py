"""The answers of an endpoint decide whether it serves what was promised and approved."""

from __future__ import annotations

from typing import Any

import pytest

from adrank.contracts.settings import Settings
from adrank_airflow.errors import DeploymentRolledBackError, ParityError, WrongPackageServedError
from adrank_airflow.hooks.endpoints import EndpointsHook
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.operators.release.serving_checks import CheckParityOperator, VerifyServingOperator

DIGEST = "d" * 64


def described(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> None:
    monkeypatch.setattr(EndpointsHook, "describe", lambda self, endpoint: answer or None)


def answering(monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(EndpointsHook, "invoke", lambda self, endpoint, request: answers.pop(0))


@pytest.fixture
def parity(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CheckParityOperator:
    golden = {"vectors": [[1.0, None], [2.0, 0.5]], "scores": [0.25, -1.5]}
    monkeypatch.setattr(LakeHook, "read_json", lambda self, key: golden)
    return CheckParityOperator(
        task_id="parity", settings=settings, role="staging", package_digest=DIGEST, golden_key="models/d/golden.json"
    )


def test_parity_compares_every_score(parity: Any, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [{"package_digest": DIGEST, "scores": [0.25, -1.5]}])
    outcome = parity.execute(context)
    assert outcome["compared"] == 2
    assert set(outcome) == set(CheckParityOperator.returns)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"package_digest": DIGEST, "scores": [0.25, -1.4]}, ParityError),
        ({"package_digest": DIGEST, "scores": [0.25]}, ParityError),
        ({"package_digest": "e" * 64, "scores": [0.25, -1.5]}, WrongPackageServedError),
    ],
)
def test_parity_refuses(
    parity: Any, context: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, error: type[Exception]
) -> None:
    answering(monkeypatch, [answer])
    with pytest.raises(error):
        parity.execute(context)


def verify(settings: Settings) -> VerifyServingOperator:
    return VerifyServingOperator(
        task_id="verify", settings=settings, role="production", package_digest=DIGEST, endpoint_config="new"
    )


def test_verification_wants_the_approved_package_in_every_answer(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, EndpointStatus="InService", EndpointConfigName="new")
    answering(monkeypatch, [{"package_digest": DIGEST}] * 20)
    outcome = verify(settings).execute(context)
    assert outcome["verified"] is True
    assert set(outcome) == set(VerifyServingOperator.returns)
    answering(monkeypatch, [{"package_digest": DIGEST}] * 19 + [{"package_digest": "e" * 64}])
    with pytest.raises(WrongPackageServedError, match="eeeeeeeeeeee"):
        verify(settings).execute(context)


def test_verification_wants_the_configuration_that_was_shifted_to(
    settings: Settings, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(monkeypatch, EndpointStatus="InService", EndpointConfigName="old")
    with pytest.raises(DeploymentRolledBackError):
        verify(settings).execute(context)
