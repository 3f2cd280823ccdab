from pathlib import Path

import pytest

from tests.include.training.logs import Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)
