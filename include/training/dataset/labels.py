"""Labels: what impressions led to within the maturity window, with the revenue that counts."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import duckdb

from adrank.contracts.settings import Labels
from training.dataset import billed_revenue, duckdb_sql
from training.dataset.impressions import Window

_log = logging.getLogger(__name__)


def label(connection: duckdb.DuckDBPyConnection, labels: Labels, window: Window, billing_maturity: timedelta) -> None:
    """Create table ``labelled`` from ``mature_impressions``, and on the way ``answers`` and ``outcomes``."""
    parameters = {
        **window._asdict(),
        "click_weight": labels.click,
        "contact_weight": labels.contact,
        "revenue_weight": labels.revenue,
        "max_grade": labels.max_grade,
    }
    duckdb_sql.create_table(connection, "answers", duckdb_sql.statement("training/answers"), parameters)
    billed_revenue.supersede(connection, "answers", "superseded_answers", billing_maturity)
    answers = duckdb_sql.create_table(connection, "outcomes", duckdb_sql.statement("training/outcomes"), parameters)
    lost = duckdb_sql.scalar(connection, "SELECT count(*) FROM outcomes WHERE impression_id IS NULL")
    _log.info("%d answers; %d answer no mature impression of the window within the maturity", answers, lost)
    duckdb_sql.create_table(connection, "labelled", duckdb_sql.statement("training/labelled"), parameters)
    connection.execute("DROP TABLE mature_impressions")


def revenue_states(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The manifest's figures of how much of the set's revenue is billed, provisional or expired."""
    found = connection.execute(duckdb_sql.statement("training/revenue_states")).fetchall()
    events = {state: count for state, count, _ in found}
    revenue = {state: round(total, 6) for state, _, total in found}
    _log.info("answers by revenue: %s; revenue: %s", events or "none", revenue or "none")
    return {
        "billed_events": events.get("billed", 0),
        "provisional_events": events.get("provisional", 0),
        "expired_events": events.get("expired", 0),
        "billed_revenue": revenue.get("billed", 0.0),
        "provisional_revenue": revenue.get("provisional", 0.0),
    }
