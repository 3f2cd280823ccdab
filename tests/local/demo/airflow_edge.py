"""Airflow's REST API as a table: a path answers with its next document, and with the last one again and again."""

from typing import Any

from stack.airflow_client import AirflowApiError


class AirflowEdge:
    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.sent: list[tuple[str, str, Any]] = []

    def on(self, path: str, *documents: Any) -> "AirflowEdge":
        self.answers[path] = list(documents)
        return self

    def request(self, method: str, path: str, body: Any = None) -> Any:
        if method != "GET":
            self.sent.append((method, path, body))
        if method == "PATCH":
            return None
        documents = self.answers.get(path.split("?")[0])
        if documents is None:
            raise AirflowApiError(404, f"{path} answered 404")
        return documents.pop(0) if len(documents) > 1 else documents[0]


def dag_run(state: str, run_id: str = "r 1", logical_date: str | None = None) -> dict[str, Any]:
    return {"dag_id": "d", "dag_run_id": run_id, "state": state, "logical_date": logical_date}


def task(task_id: str, state: str | None, **more: Any) -> dict[str, Any]:
    moments = {"start_date": None, "end_date": None}
    return {"dag_id": "d", "dag_run_id": "r 1", "task_id": task_id, "state": state, "try_number": 1, **moments, **more}
