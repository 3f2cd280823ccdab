"""An Airflow API that is asked again while its server is busy, for as long as it may say nothing."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from stack.airflow_client import AirflowApiError

_INTERVAL: Final = 1.5
_SERVER_ERROR: Final = 500

Result = TypeVar("Result")


class AirflowSilentError(RuntimeError):
    """Airflow has answered no request for too long; the message ends with the last error."""


class AirflowApi(Protocol):
    """What is needed of :class:`stack.airflow_client.AirflowClient`; paths are below ``/api/v2``."""

    def get(self, path: str) -> Any:
        """GET a path."""

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body."""

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._max_silence = max_silence
        self._require_running = require_running
        self._sleep = sleep
        self._monotonic = monotonic

    def get(self, path: str) -> Any:
        """GET a path."""
        return self._until_answered(lambda: self._api.get(path))

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body."""
        return self._until_answered(lambda: self._api.post(path, body))

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return self._until_answered(lambda: self._api.patch(path, body))

    def _until_answered(self, ask: Callable[[], Result]) -> Result:
        began = self._monotonic()
        while True:
            try:
                return ask()
            except AirflowApiError as error:
                if error.status < _SERVER_ERROR:
                    raise
                last: Exception = error
            except (OSError, http.client.HTTPException) as error:
                last = error
            self._require_running()
            silence = self._monotonic() - began
            if silence > self._max_silence:
                raise AirflowSilentError(f"Airflow has not answered for {silence:.0f} s: {last}") from last
            self._sleep(_INTERVAL)
