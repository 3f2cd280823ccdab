"""A busy Airflow is asked again, one that says no is not, and none is asked for ever."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self

import httpx
import pytest
import tenacity

from demo.runs.retrying_api import AirflowSilentError, RetryingApi
from stack.airflow_client import AirflowApiError
from stack.supervisor.client import StackStoppedError


class Airflow:
    """Stumbles before it answers; time passes only while somebody sleeps."""

    def __init__(self, *stumbles: Exception) -> None:
        self.stumbles = list(stumbles)
        self.requests: list[tuple[str, str, Any]] = []
        self.now = 0.0

    def request(self, method: str, path: str, body: Any = None) -> Any:
        self.requests.append((method, path, body))
        if self.stumbles:
            raise self.stumbles.pop(0)
        return "answer"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def api(self, require_running: Callable[[], None] = lambda: None) -> RetryingApi:
        return RetryingApi(self, 60, require_running, self.sleep)

    def in_its_time(self, monkeypatch: pytest.MonkeyPatch) -> Self:
        monkeypatch.setattr(tenacity, "time", SimpleNamespace(monotonic=lambda: self.now))
        return self


BUSY = (
    httpx.ReadTimeout("no answer"),
    AirflowApiError(503, "busy"),
    httpx.RemoteProtocolError("half an answer"),
    httpx.ReadError("connection reset"),
)


def test_a_busy_server_is_asked_again_for_all_that_is_wanted() -> None:
    for method, body in (("GET", None), ("POST", {"a": 1}), ("PATCH", {"a": 1})):
        airflow = Airflow(*BUSY)
        assert airflow.api().request(method, "/p", body) == "answer"
        assert airflow.requests == [(method, "/p", body)] * 5


def test_a_server_that_says_no_is_not_asked_again() -> None:
    airflow = Airflow(AirflowApiError(403, "forbidden"))
    with pytest.raises(AirflowApiError, match="forbidden"):
        airflow.api().request("GET", "/p")
    assert airflow.now == 0


def test_a_server_that_stays_silent_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Airflow(*[httpx.ConnectError("refused")] * 999).in_its_time(monkeypatch)
    with pytest.raises(AirflowSilentError, match=r"has not answered for 6. s: refused"):
        airflow.api().request("GET", "/p")
    assert 60 < airflow.now < 65


def test_nobody_is_asked_once_the_stack_was_stopped() -> None:
    def gone() -> None:
        raise StackStoppedError("the stack was stopped")

    airflow = Airflow(*[httpx.ConnectError("refused")] * 999)
    with pytest.raises(StackStoppedError):
        airflow.api(gone).request("GET", "/p")
    assert airflow.now == 0
