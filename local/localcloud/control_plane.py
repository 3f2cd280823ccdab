"""``python -m localcloud.control_plane``: EMR, SageMaker, CloudWatch, Secrets Manager, STS and IAM, and what they run.

One process: moto's server holds the control planes, the executing back ends run their work as child processes, the
gateway serves endpoints. All of it comes back after a restart but for work that was under way, which has failed.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import socket
import sys
import threading
from typing import Any, Final

from localcloud.clock import Periodic, now
from localcloud.cloudwatch.alarms import Alarms
from localcloud.cloudwatch.metrics import Metrics
from localcloud.emr import api as emr_api
from localcloud.emr.steps import Steps
from localcloud.faults.armed import Faults
from localcloud.faults.control import FaultControl
from localcloud.gateway import Gateway, GatewayError
from localcloud.processes.children import ChildProcesses
from localcloud.sagemaker import api as sagemaker_api
from localcloud.sagemaker.endpoints import BUSY, Endpoints
from localcloud.sagemaker.jobs import Jobs
from localcloud.settings import LocalcloudSettings, from_command_line
from localcloud.state import moto_backends
from localcloud.state.journal import Journal
from localcloud.storage.lake_directory import LakeDirectory

_log: Final = logging.getLogger("localcloud")


class PortTakenError(RuntimeError):
    """Another program listens where this one should."""


class ControlPlane:
    """Everything together. One instance per process, because moto's classes are patched."""

    def __init__(self, settings: LocalcloudSettings) -> None:
        from moto.cloudwatch.models import cloudwatch_backends
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer
        from moto.sagemaker.models import sagemaker_backends

        self._settings = settings
        self._account = DEFAULT_ACCOUNT_ID
        self._sagemaker: Any = sagemaker_backends[self._account][settings.region]
        cloudwatch = cloudwatch_backends[self._account][settings.region]
        settings.make_directories()
        self._journal = Journal(settings.state_dir / "journal.json", self._capture)
        self._processes = ChildProcesses()
        faults = Faults(settings.faults_file)
        alarms, metrics = Alarms(cloudwatch), Metrics(cloudwatch)
        self._periodic = (
            Periodic("metrics", settings.metrics_seconds, metrics.publish),
            Periodic("alarms", settings.alarms_seconds, alarms.evaluate),
        )
        steps = Steps(settings, self._processes, faults, self._journal.changed)
        jobs = Jobs(settings, self._processes, faults, self._journal.changed)
        self._endpoints = Endpoints(settings, self._processes, alarms, self._sagemaker, self._journal.changed)
        fault_control = FaultControl(settings, faults, alarms, self._account)
        self._gateway = Gateway(settings, self._endpoints.routes, metrics, fault_control, self._health)
        self._server = ThreadedMotoServer(settings.host, settings.port, verbose=False)
        emr_api.install(steps, LakeDirectory(settings.lake_dir), self._journal.changed)
        sagemaker_api.install(jobs, self._endpoints, alarms, self._journal.changed)
        moto_backends.install(self._journal.changed)

    def start(self) -> None:
        """Bring back what was kept, then serve. Raises :class:`GatewayError`."""
        self._gateway.start()
        # What a killed predecessor left behind.
        for scratch in ("endpoints", "sagemaker"):
            shutil.rmtree(self._settings.work_dir / scratch, ignore_errors=True)
        self._restore()
        self._journal.open()
        for each in self._periodic:
            each.start()
        self._server.start()
        _log.info("control planes on %s, gateway on %s", self._settings.port, self._settings.gateway_port)

    def stop(self) -> None:
        """Stop serving and every child; the journal stays as it is, so a restart finds what was there."""
        self._journal.close()
        self._endpoints.close()
        for each in self._periodic:
            each.stop()
        self._gateway.stop()
        self._processes.stop_all(self._settings.stop_grace_seconds)

    def _capture(self) -> dict[str, Any]:
        return {
            "emr": emr_api.capture(self._settings.region, self._account),
            "sagemaker": sagemaker_api.capture(self._sagemaker),
            **moto_backends.capture(self._settings.region, self._account),
        }

    def _restore(self) -> None:
        document = self._journal.read()
        moto_backends.restore(document, self._settings.region, self._account)
        emr_api.restore(document.get("emr", []), self._settings.region, self._account, now())
        sagemaker_api.restore(document.get("sagemaker", {}), self._sagemaker, self._endpoints)

    def _health(self) -> dict[str, Any]:
        endpoints = {name: endpoint.endpoint_status for name, endpoint in list(self._sagemaker.endpoints.items())}
        return {"status": "starting" if any(s in BUSY for s in endpoints.values()) else "ok", "endpoints": endpoints}


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(f"port {port} (control planes): {error}") from error


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = from_command_line()
    try:
        _require_free(settings.host, settings.port)
        plane = ControlPlane(settings)
        plane.start()
    except (PortTakenError, GatewayError) as error:
        sys.exit(f"localcloud cannot start: {error}")
    stop.wait()
    with contextlib.suppress(TimeoutError):
        plane.stop()


if __name__ == "__main__":
    main()
