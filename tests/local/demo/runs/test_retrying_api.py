"""A busy Airflow is asked again, one that says no is not, and none is asked for ever."""

import http.client
from collections.abc import Callable
from typing import Any

import pytest

from demo.runs.retrying_api import AirflowSilentError, RetryingApi
from stack.airflow_client import AirflowApiError
from stack.supervisor.client import StackStoppedError


class DagRunClient:
    """Stumbles before it answers; time passes only while somebody sleeps."""

    def __init__(self, *stumbles: Exception) -> None:
        self.stumbles = list(stumbles)
        self.asked: list[tuple[str, str]] = []
        self.now = 0.0

    def get(self, path: str) -> Any:
        return self._answer("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._answer("POST", path)

    def patch(self, path: str, body: Any) -> Any:
        return self._answer("PATCH", path)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def api(self, require_running: Callable[[], None] = lambda: None) -> RetryingApi:
        return RetryingApi(self, 60, require_running, self.sleep, lambda: self.now)

    def _answer(self, method: str, path: str) -> str:
        self.asked.append((method, path))
        if self.stumbles:
            raise self.stumbles.pop(0)
        return "answer"


BUSY = (
    TimeoutError("no answer"),
    AirflowApiError(503, "busy"),
    http.client.IncompleteRead(b""),
    ConnectionResetError(),
)


def test_a_busy_server_is_asked_again_for_all_that_is_wanted() -> None:
    for ask in (lambda api: api.get("/p"), lambda api: api.post("/p", {}), lambda api: api.patch("/p", {})):
        airflow = DagRunClient(*BUSY)
        assert ask(airflow.api()) == "answer"
        assert len(set(airflow.asked)) == 1
        assert len(airflow.asked) == 5


def test_a_server_that_says_no_is_not_asked_again() -> None:
    airflow = DagRunClient(AirflowApiError(403, "forbidden"))
    with pytest.raises(AirflowApiError, match="forbidden"):
        airflow.api().get("/p")
    assert airflow.now == 0


def test_a_server_that_stays_silent_is_not_asked_for_ever() -> None:
    airflow = DagRunClient(*[ConnectionRefusedError("refused")] * 999)
    with pytest.raises(AirflowSilentError, match=r"has not answered for 6. s: refused"):
        airflow.api().get("/p")
    assert 60 < airflow.now < 65


def test_nobody_is_asked_once_the_stack_was_stopped() -> None:
    def gone() -> None:
        raise StackStoppedError("the stack was stopped")

    airflow = DagRunClient(*[ConnectionRefusedError("refused")] * 999)
    with pytest.raises(StackStoppedError):
        airflow.api(gone).get("/p")
    assert airflow.now == 0
