"""A person's way into Airflow's REST API: logs in as one of the stack's users and speaks JSON."""

from __future__ import annotations

from typing import Any

import httpx

from stack import credentials
from stack.environment import url
from stack.settings import StackSettings


class AirflowApiError(RuntimeError):
    """Airflow answered with an error; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AirflowClient:
    """One logged-in user. The token is asked for at the first request and again when it has expired."""

    def __init__(self, stack: StackSettings, user: str = "admin") -> None:
        # No proxy of the user's stands between this machine and itself. No connection is kept: a server that restarts
        # or closes it would be taken for one that does not answer.
        self._http = httpx.Client(
            base_url=url(stack, "airflow"), trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._login = {"username": user, "password": credentials.airflow_password(stack, user)}

    def request(self, method: str, path: str, body: Any = None, timeout: float = 60) -> Any:
        """The decoded answer of ``/api/v2`` + path (None when it has no body).

        Raises:
            AirflowApiError: HTTP's status is an error.
            httpx.TransportError: nobody answers.
        """
        if "Authorization" not in self._http.headers:
            self._log_in()
        try:
            return self._send(method, f"/api/v2{path}", body, timeout)
        except AirflowApiError as error:
            if error.status != 401:
                raise
        self._log_in()
        return self._send(method, f"/api/v2{path}", body, timeout)

    def _log_in(self) -> None:
        self._http.headers.pop("Authorization", None)
        token = self._send("POST", "/auth/token", self._login, 60)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _send(self, method: str, path: str, body: Any, timeout: float) -> Any:
        response = self._http.request(method, path, json=body, timeout=timeout)
        if response.is_error:
            raise AirflowApiError(
                response.status_code, f"{method} {path} answered {response.status_code}: {response.text}"
            )
        return response.json() if response.content else None
