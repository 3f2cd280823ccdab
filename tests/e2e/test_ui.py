"""What a person sees of the weekly DAG in Airflow's UI."""

from __future__ import annotations

import pytest

from demo.report.record import WEEKLY_STAGES
from demo.runs import weekly
from stack.environment import url
from tests.e2e import browser
from tests.e2e.lived import Lived

pytestmark = [pytest.mark.verify, pytest.mark.e2e, pytest.mark.stack, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("user", ["ml_engineer", "product_manager"])
def test_the_graph_of_a_run_shows_the_groups_of_the_lifecycle(lived: Lived, user: str) -> None:
    run = lived.airflow.runs(weekly.DAG_ID)[0]
    with browser.signed_in(lived.stack, user) as page:
        address = f"{url(lived.stack, 'airflow')}/dags/{run.dag_id}/runs/{run.run_id}"
        assert browser.groups_in_graph(page, address) == set(WEEKLY_STAGES)
