"""Settings: read from the environment alone, and refused when they cannot be."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from pydantic import ValidationError

from adrank.contracts.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ADRANK_")]:
        monkeypatch.delenv(name)


def test_the_defaults_stand_on_their_own() -> None:
    settings = Settings()
    assert settings.gate.min_ndcg_at_10 is None, "an absolute floor is a team's choice"
    assert settings.experiment.duration == timedelta(hours=24)
    assert settings.experiment.share == 0.05


def test_the_environment_sets_one_field_of_a_section_and_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADRANK_ONLINE__REDIS_PORT", "6400")
    monkeypatch.setenv("ADRANK_APPROVAL__APPROVERS", '["ada"]')
    settings = Settings()
    assert (settings.online.redis_port, settings.online.redis_tls) == (6400, True)
    assert settings.approval.approvers == ("ada",)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ADRANK_ONLINE__REDIS_PORT", "70000", "redis_port"),
        ("ADRANK_EXPERIMENT__SHARE", "1.5", "share"),
        ("ADRANK_EXPERIMENT__DURATION", "PT90M", "duration must be a positive number of whole hours"),
        ("ADRANK_EXPERIMENT__MAX_DURATION", "PT12H", "max_duration must not be before duration"),
        ("ADRANK_LAKE__BUKCET", "typo", "bukcet"),
        ("ADRANK_GATES__CONFIDENCE", "0.9", "unknown settings in the environment: ADRANK_GATES__CONFIDENCE"),
    ],
)
def test_an_impossible_or_unknown_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=reason):
        Settings()


def test_settings_cannot_be_changed_after_the_fact() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().region = "us-east-1"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["colour", "ads.", "public.ads.colour"])
def test_a_column_to_leave_out_is_named_with_its_table(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ADRANK_CDC__IGNORED_COLUMNS", json.dumps([name]))
    with pytest.raises(ValidationError, match=r"expected table\.column"):
        Settings()
