"""Runs EMR steps: first in, first out, as many at a time as the cluster's step concurrency allows."""

from __future__ import annotations

import gzip
import logging
import shutil
import threading
from pathlib import Path
from typing import Any, Final

from localcloud.clock import now
from localcloud.emr import spark_submit
from localcloud.emr.spark_submit import StepError
from localcloud.processes.failure import last_error
from localcloud.runner import HANG, Runner

ACTIVE: Final = ("PENDING", "CANCEL_PENDING", "RUNNING")
ENDED_CLUSTER: Final = ("TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS")
_log = logging.getLogger(__name__)


class Steps(Runner):
    """The executing back end of moto's EMR clusters."""

    def pump(self, cluster: Any) -> None:
        """Start what may start; settle the cluster's own state."""
        with self._lock:
            if cluster.state in ENDED_CLUSTER:
                return
            running = sum(step.state == "RUNNING" for step in cluster.steps)
            for step in list(cluster.steps):
                if running >= (cluster.step_concurrency_level or 1):
                    break
                if step.state != "PENDING" or step.id in self._lost:
                    continue
                outcome = self._faults.take("steps", step.name)
                if outcome == "lose":
                    self._lost.add(step.id)
                    continue
                step.state = "RUNNING"
                step.start_date_time = now()
                running += 1
                threading.Thread(
                    target=self._run, args=(cluster, step, outcome), name=f"step-{step.id}", daemon=True
                ).start()
            active = any(step.state in ACTIVE for step in cluster.steps)
            cluster.state = "RUNNING" if active else "WAITING"
            if cluster.steps and not active and not cluster.keep_job_flow_alive_when_no_steps:
                cluster.terminate()
        self._changed()

    def cancel(self, cluster: Any, step: Any) -> str | None:
        """Cancel a pending or running step; returns the reason when that cannot be done."""
        with self._lock:
            if step.state not in ACTIVE:
                return f"Step {step.id} is already in {step.state} state and cannot be cancelled."
            if step.state == "RUNNING":
                self._stopped.add(step.id)
                self._stop(step.id)
            else:
                self._end(step, "CANCELLED", "Job cancelled by user")
        self.pump(cluster)
        return None

    def terminate(self, cluster: Any, state: str = "TERMINATED", reason: str = "Terminated by user request") -> None:
        """Cancel all steps and end the cluster."""
        with self._lock:
            cluster.terminate()
            cluster.state = state
            cluster.last_state_change_reason = reason
            active = [step for step in cluster.steps if step.state in ACTIVE]
        for step in active:
            self.cancel(cluster, step)
        self._changed()

    def _run(self, cluster: Any, step: Any, outcome: str | None) -> None:
        directory = self._settings.work_dir / "emr" / cluster.id / step.id
        directory.mkdir(parents=True, exist_ok=True)
        out, err = directory / "stdout", directory / "stderr"
        log_uri = f"{cluster.log_uri.rstrip('/')}/{cluster.id}/steps/{step.id}" if cluster.log_uri else ""
        state, reason, message, where = "FAILED", "Unknown Error.", "", err
        try:
            command = list(HANG) if outcome == "hang" else self._command(step, directory)
            if outcome == "fail":
                raise StepError("fault switch: this step was told to fail")
            python = str(self._settings.python)
            spark = {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, "SPARK_LOCAL_IP": self._settings.host}
            status = self._execute(step.id, command, cwd=directory, environment=spark, logs=directory)
            if status == 0:
                state = "COMPLETED"
            else:
                message, where = last_error(out, err)
                message = message or f"exit status {status}"
        except (StepError, OSError) as error:
            reason = message = str(error)
            err.write_text(f"{error}\n", encoding="utf-8")
        except Exception as error:
            # A step must never stay RUNNING because of this program.
            _log.exception("step %s", step.id)
            message = repr(error)
        self._publish_logs(log_uri, out, err)
        with self._lock:
            if step.id in self._stopped:
                self._end(step, "CANCELLED", "Job cancelled by user")
            else:
                self._end(step, state, message or None)
                if state == "FAILED":
                    step.failure_details = {
                        "Reason": reason,
                        "Message": message,
                        "LogFile": f"{log_uri}/{where.name}.gz",
                    }
        if step.state == "FAILED":
            self._after_failure(cluster, step)
        shutil.rmtree(directory / "code", ignore_errors=True)
        self.pump(cluster)

    def _command(self, step: Any, directory: Path) -> list[str]:
        args = [str(word) for word in step.args]
        if step.jar != "command-runner.jar":
            raise StepError(f"this machine runs command-runner.jar only, not {step.jar}")
        if not args:
            raise StepError("command-runner.jar was given no command")
        if args[0] == "spark-submit":
            self._settings.make_directories()
            return spark_submit.localize(args[1:], self._settings, directory)
        return args

    def _after_failure(self, cluster: Any, step: Any) -> None:
        if step.action_on_failure == "CANCEL_AND_WAIT":
            for other in [other for other in cluster.steps if other.state == "PENDING"]:
                self.cancel(cluster, other)
        elif step.action_on_failure in ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW"):
            self.terminate(cluster, "TERMINATED_WITH_ERRORS", f"Step {step.id} failed")

    def _publish_logs(self, log_uri: str, *logs: Path) -> None:
        for log in logs if log_uri else ():
            zipped = log.with_name(f"{log.name}.gz")
            log.touch()
            with log.open("rb") as plain, gzip.open(zipped, "wb") as target:
                shutil.copyfileobj(plain, target)
            self._lake.upload(zipped, f"{log_uri}/{zipped.name}")
            zipped.unlink()

    def _end(self, step: Any, state: str, reason: str | None) -> None:
        step.state = state
        step.end_date_time = now()
        step.last_state_change_reason = reason
        self._forget(step.id)
