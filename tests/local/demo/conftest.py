"""One record for all tests of the report."""

import pytest

from demo.report.record import DemoRecord
from tests.local.demo.records import promoted


@pytest.fixture(scope="session")
def record() -> DemoRecord:
    return promoted()
