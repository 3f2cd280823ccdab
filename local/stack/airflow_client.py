"""A person's way into Airflow's REST API: logs in as one of the stack's users and speaks JSON."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Final

from stack import credentials
from stack.environment import url
from stack.settings import StackSettings

# No proxy of the user's stands between this machine and itself.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AirflowApiError(RuntimeError):
    """Airflow answered with an error; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AirflowClient:
    """One logged-in user. The token is asked for at the first request and again when it has expired."""

    def __init__(self, stack: StackSettings, user: str = "admin") -> None:
        self._base = url(stack, "airflow")
        self._login = {"username": user, "password": credentials.airflow_password(stack, user)}
        self._token = ""

    def get(self, path: str) -> Any:
        """GET ``/api/v2`` + path."""
        return self.request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body."""
        return self.request("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return self.request("PATCH", path, body)

    def request(self, method: str, path: str, body: Any = None, timeout: float = 60) -> Any:
        """The decoded answer (None when it has no body); raises :class:`AirflowApiError` on an HTTP error."""
        if not self._token:
            self._log_in()
        try:
            return self._send(method, f"/api/v2{path}", body, timeout)
        except AirflowApiError as error:
            if error.status != 401:
                raise
        self._log_in()
        return self._send(method, f"/api/v2{path}", body, timeout)

    def _log_in(self) -> None:
        self._token = ""
        self._token = self._send("POST", "/auth/token", self._login, 60)["access_token"]

    def _send(self, method: str, path: str, body: Any, timeout: float) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, headers, method=method)  # noqa: S310 - http by construction
        try:
            with _OPENER.open(request, timeout=timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")
            raise AirflowApiError(error.code, f"{method} {path} answered {error.code}: {detail}") from None
        return json.loads(text) if text else None
