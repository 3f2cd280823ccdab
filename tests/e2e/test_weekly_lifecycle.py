"""The whole weekly graph under a real scheduler: what was gated is what was tested, approved and serves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from demo.report.record import STAGES
from demo.report.summary import summary
from tests.e2e.lived import Lived

pytestmark = [pytest.mark.e2e, pytest.mark.stack, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def report(lived: Lived) -> dict[str, Any]:
    return summary(lived.record)


def test_every_stage_succeeded(report: dict[str, Any]) -> None:
    assert {name: stage["state"] for name, stage in report["stages"].items()} == dict.fromkeys(STAGES, "success")


def test_the_candidate_passed_the_gate_and_was_promoted_by_the_experiment(report: dict[str, Any]) -> None:
    assert report["gate"]["verdict"] == "pass"
    assert report["experiment"]["verdict"] == "promote"
    assert min(report["experiment"]["users"].values()) > 300


def test_what_was_approved_is_what_serves(report: dict[str, Any]) -> None:
    approved = report["approval"]
    assert (approved["decision"], approved["by"]) == ("Approve", "product_manager")
    assert report["production"]["package_digest"] == approved["package_digest"]
    assert report["production"]["verified"] is True


def test_traffic_shifted_without_a_failed_request(report: dict[str, Any]) -> None:
    assert report["production"]["requests_during_shift"] > 200
    assert report["production"]["failed_requests_during_shift"] == 0


def test_the_incumbent_is_kept_as_previous(report: dict[str, Any]) -> None:
    assert report["registry"]["aliases"] == {"production": "2", "previous": "1"}


def test_no_staging_endpoint_and_no_running_experiment_are_left_behind(lived: Lived) -> None:
    endpoints = lived.client("sagemaker").list_endpoints()["Endpoints"]
    assert [e["EndpointName"] for e in endpoints] == [lived.settings.sagemaker.production_endpoint]
    items = lived.client("dynamodb").scan(TableName=lived.settings.online.experiments_table)["Items"]
    assert Counter(item["status"]["S"] for item in items) == {"stopped": 1}
