"""What each stage cost: CPU time and waits, measured while it runs and told afterwards."""

from __future__ import annotations

from collections.abc import Iterable

from demo.report.cpu_log import CpuLog
from demo.report.record import Stage, Task
from demo.report.task_times import TaskTimes
from stack.process_cpu import StackCpu


class Measures:
    """Of one demo, from :meth:`start` to :meth:`stop`; ``look`` at its tasks whenever they are at hand."""

    def __init__(self, cpu: StackCpu) -> None:
        self._cpu_log = CpuLog(lambda: cpu.read().total)
        self._times = TaskTimes()
        self.start = self._cpu_log.start
        self.stop = self._cpu_log.stop
        self.look = self._times.look

    def add_to(self, stage: Stage, tasks: Iterable[Task]) -> Stage:
        """The stage with what it burnt and which of its ``tasks`` it waited for."""
        if stage.started is None or stage.ended is None:
            return stage
        cpu_seconds = self._cpu_log.between(stage.started, stage.ended)
        return stage.model_copy(update={"cpu_seconds": cpu_seconds, "waited_for": self._times.longest(tasks)})
