"""One container of an endpoint as a process: starts it, waits for ``/ping``, restarts it when it dies, stops it."""

from __future__ import annotations

import http.client
import logging
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localcloud.processes.children import ChildProcess, ChildProcesses
from localcloud.processes.failure import last_error
from localcloud.sagemaker import containers, images
from localcloud.sagemaker.containers import DataError
from localcloud.sagemaker.images import UnknownImageError
from localcloud.settings import LocalcloudSettings
from localcloud.storage.lake_directory import LakeDirectory, LakeError

_PING_INTERVAL: Final = 0.1
_RESTART_DELAY: Final = 1.0
_log = logging.getLogger(__name__)


class ServingError(RuntimeError):
    """The container did not come up; the message is what SageMaker gives as FailureReason."""


@dataclass(frozen=True)
class Container:
    """What to run: image, packed model, environment."""

    image: str
    model_data_url: str
    environment: Mapping[str, str]


class ServingProcess:
    """A serving container on a loopback port of its own."""

    def __init__(
        self, container: Container, base: Path, logs: Path, settings: LocalcloudSettings, children: ChildProcesses
    ) -> None:
        self._container = container
        self._base = base
        self._logs = logs
        self._settings = settings
        self._processes = children
        self._stopping = threading.Event()
        self._child: ChildProcess | None = None
        self.port = _free_port(settings.host)
        self.ready = False

    @property
    def url(self) -> str:
        """Where invocations go."""
        return f"http://{self._settings.host}:{self.port}/invocations"

    def start(self, timeout: float) -> None:
        """Fetch the model, start the process and wait until it answers its ping. Raises :class:`ServingError`."""
        try:
            self._fetch_model()
            self._launch()
        except (DataError, LakeError, UnknownImageError, OSError) as error:
            raise ServingError(str(error)) from error
        self._await_ping(timeout)
        threading.Thread(target=self._watch, name=f"serving-{self.port}", daemon=True).start()

    def stop(self) -> None:
        """Stop the process and remove its directory."""
        self._stopping.set()
        self.ready = False
        if self._child is not None:
            self._child.stop(self._settings.stop_grace_seconds)
            self._processes.forget(self._child)
        shutil.rmtree(self._base, ignore_errors=True)

    def _fetch_model(self) -> None:
        shutil.rmtree(self._base, ignore_errors=True)
        containers.prepare(self._base, "model")
        if self._container.model_data_url:
            archive = LakeDirectory(self._settings.lake_dir).download(
                self._container.model_data_url, self._base / "model.tar.gz"
            )
            containers.unpack(archive, self._base / "model")
            archive.unlink()

    def _launch(self) -> None:
        image = images.find(self._container.image, self._settings.images)
        if not image.serve:
            raise DataError(f"image {self._container.image} has no serve command")
        environment = {
            **self._settings.child_environment(),
            **image.environment(self._base),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            **self._container.environment,
        }
        self._child = self._processes.start(
            images.command(image.serve, self._settings.python),
            cwd=image.workdir,
            environment=environment,
            stdout=self._logs / "stdout",
            stderr=self._logs / "stderr",
        )

    def _await_ping(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._stopping.wait(_PING_INTERVAL):
            if self._pings():
                self.ready = True
                return
            if self._child is None or not self._child.running:
                message, _ = last_error(self._logs / "stderr", self._logs / "stdout")
                raise ServingError(f"the container stopped: {message or 'it said nothing'}")
            if time.monotonic() > deadline:
                raise ServingError(f"no answer to /ping in {timeout:.0f} s")
        raise ServingError("stopped while it started")

    def _pings(self) -> bool:
        connection = http.client.HTTPConnection(self._settings.host, self.port, timeout=2)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        while self._child is not None:
            self._child.wait()
            if self._stopping.is_set():
                return
            self.ready = False
            self._processes.forget(self._child)
            # SageMaker replaces an unhealthy instance without asking.
            if self._stopping.wait(_RESTART_DELAY):
                return
            try:
                self._launch()
                self._await_ping(self._settings.ping_timeout_seconds)
            except (ServingError, DataError, UnknownImageError, OSError) as error:
                if not self._stopping.is_set():
                    _log.warning("%s does not come back, and is tried again: %s", self._container.image, error)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
