"""An Airflow API that is asked again while its server is busy, for as long as it may say nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_fixed

from stack.airflow_client import AirflowApiError

_INTERVAL: Final = 1.5
_SERVER_ERROR: Final = 500


class AirflowSilentError(RuntimeError):
    """Airflow has answered no request for too long; the message ends with the last error."""


class AirflowApi(Protocol):
    """What is needed of :class:`stack.airflow_client.AirflowClient`."""

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer; ``path`` is below ``/api/v2``."""


class RetryingApi:
    """Repeats what was not answered, or with a server's error, up to ``max_silence`` seconds after the first try.

    ``require_running`` raises when there is nobody left to ask. A repeated POST or PATCH may have been carried out
    before: what is sent must bear that.
    """

    def __init__(
        self,
        api: AirflowApi,
        max_silence: float,
        require_running: Callable[[], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._max_silence = max_silence
        self._require_running = require_running
        self._sleep = sleep

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer, as soon as there is one."""

        def is_over(state: RetryCallState) -> bool:
            self._require_running()
            return (state.seconds_since_start or 0) > self._max_silence

        def give_up(state: RetryCallState) -> NoReturn:
            last = state.outcome.exception() if state.outcome else None
            raise AirflowSilentError(
                f"Airflow has not answered for {state.seconds_since_start:.0f} s: {last}"
            ) from last

        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            wait=wait_fixed(_INTERVAL),
            stop=is_over,
            sleep=self._sleep,
            retry_error_callback=give_up,
        )
        return retrying(self._api.request, method, path, body)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, AirflowApiError):
        return error.status >= _SERVER_ERROR
    return isinstance(error, httpx.TransportError)
