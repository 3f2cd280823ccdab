"""What tells the demo that the system moves: signals for :class:`stack.stall.ProgressWatch`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from adrank.contracts import metrics as metric_names
from adrank.contracts.settings import Settings
from demo.report.record import Task
from simulator.traffic import metrics_page
from simulator.traffic.metrics_page import MetricsUnreadableError, values
from stack.process_cpu import StackCpu
from stack.stall import Signal, steps

#: Share of a core below which jobs do nothing: a JVM that only waits takes less than a tenth of it.
_IDLE_SHARE: Final = 1 / 30


def work(cpu: StackCpu, limit: float) -> dict[str, Signal]:
    """Steps, jobs and starting endpoints that burn CPU time, with ``limit`` seconds to show it."""
    return {"the jobs' CPU time": steps(lambda: cpu.read().work, limit * _IDLE_SHARE)}


def ingestion(settings: Settings) -> dict[str, Signal]:
    """What archiver and capture have brought into the lake, and the event time up to which they have."""
    archiver = f"http://{settings.events.metrics_host}:{settings.events.metrics_port}"
    capture = f"http://{settings.cdc.metrics_host}:{settings.cdc.metrics_port}"
    return {
        "the archiver": lambda: metrics(archiver, metric_names.ARCHIVER_MESSAGES, metric_names.ARCHIVER_WATERMARK),
        "the capture": lambda: metrics(capture, metric_names.CAPTURE_CHANGES, metric_names.CAPTURE_WATERMARK),
    }


def experiment(
    traffic_state: Callable[[], dict[str, Any]], settings: Settings, until: datetime, is_running: Callable[[], bool]
) -> dict[str, Signal]:
    """The event clock and the closed hours, while an experiment waits for them, and not past ``until``."""
    archiver = f"http://{settings.events.metrics_host}:{settings.events.metrics_port}"

    def clock() -> object:
        now = traffic_state().get("event_now")
        return min(datetime.fromisoformat(now), until) if now and is_running() else None

    def closed() -> object:
        seen = metrics(archiver, metric_names.ARCHIVER_WATERMARK) if is_running() else None
        return min(seen[0], until.timestamp()) if seen else None

    return {"the traffic's event clock": clock, "closed hours": closed}


def states(tasks: list[Task]) -> list[tuple[str, int, int, str]]:
    """What of a run's tasks changes as it goes on."""
    return sorted((task.task_id, task.map_index, task.try_number, task.state) for task in tasks)


def metrics(address: str, *names: str) -> tuple[float, ...] | None:
    """Prometheus metrics at ``address``, each summed over its labels; None when nobody answers there."""
    try:
        samples = metrics_page.read(address)
    except MetricsUnreadableError:
        return None
    return tuple(sum(values(samples, name)) for name in names)
