"""A lifecycle that the end-to-end tests look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adrank.contracts.settings import Settings
from demo.report.record import DemoRecord
from demo.runs.dag_runs import DagRunClient
from stack.airflow_client import AirflowClient
from stack.environment import aws_client
from stack.settings import StackSettings


@dataclass(frozen=True)
class Lived:
    """A lifecycle that has been lived through, and the stack that it left running."""

    stack: StackSettings
    record: DemoRecord
    settings: Settings

    @property
    def airflow(self) -> DagRunClient:
        return DagRunClient(AirflowClient(self.stack))

    def client(self, service: str) -> Any:
        return aws_client(self.stack, service)
