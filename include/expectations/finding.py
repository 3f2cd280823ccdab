"""One expectation's outcome: what a log line, the results of an hour and an exit message need of it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from expectations.count_only import plain

_SHOWN: Final = 300


class ExpectationOutcome(BaseModel):
    """``observed`` is what was seen where the expectation failed: values, and the rows that have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    expectation: str
    columns: str
    success: bool
    unexpected: int = 0
    observed: str = ""

    def __str__(self) -> str:
        return (
            f"{self.group}: {self.expectation}({self.columns}): {self.unexpected} unexpected, observed {self.observed}"
        )


def finding(group: str, result: Any) -> ExpectationOutcome:
    """Reduce one of Great Expectations' results."""
    configuration, outcome = result.expectation_config, result.result or {}
    return ExpectationOutcome(
        group=group,
        expectation=plain(configuration.type),
        columns=columns(configuration),
        success=bool(result.success),
        unexpected=int(outcome.get("unexpected_count") or 0),
        observed="" if result.success else _observed(result, outcome)[:_SHOWN],
    )


def columns(configuration: Any) -> str:
    """The columns that an expectation is about."""
    told = configuration.kwargs
    named = [told[name] for name in ("column", "column_A", "column_B") if name in told]
    return ", ".join([*named, *told.get("column_list", ())])


def _observed(result: Any, outcome: dict[str, Any]) -> str:
    errors = result.exception_info or {}
    for error in (errors, *errors.values()):
        if isinstance(error, dict) and error.get("raised_exception"):
            return str(error.get("exception_message", ""))
    if rows := outcome.get("partial_unexpected_index_list"):
        return "; ".join(", ".join(f"{name} {value}" for name, value in row.items()) for row in rows)
    return str(outcome.get("observed_value", outcome.get("partial_unexpected_list", "")))
