"""Runs SageMaker endpoints: creates, updates blue/green with alarms and silent rollback, deletes, brings back."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from localcloud.clock import now
from localcloud.cloudwatch.alarms import Alarms
from localcloud.processes.children import ChildProcesses
from localcloud.sagemaker.rollout import Rollout
from localcloud.sagemaker.serving_process import Container, ServingError, ServingProcess
from localcloud.sagemaker.traffic import Fleet, Route, Routes, Variant
from localcloud.settings import LocalcloudSettings

BUSY: Final = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_WATCH_INTERVAL: Final = 0.2
_log = logging.getLogger(__name__)


class Endpoints:
    """The executing back end of moto's endpoints; ``backend`` is moto's SageMaker backend."""

    def __init__(
        self,
        settings: LocalcloudSettings,
        children: ChildProcesses,
        alarms: Alarms,
        backend: Any,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._processes = children
        self._alarms = alarms
        self._backend = backend
        self._changed = changed
        self._fleets: dict[str, Fleet] = {}
        self._closing = threading.Event()
        self.routes: Routes = {}

    def create(self, endpoint: Any) -> None:
        """Start the endpoint: ``Creating``, then ``InService`` or ``Failed``."""
        self._status(endpoint, "Creating")
        self._in_background(self._bring_up, endpoint)

    def update(self, endpoint: Any, config_name: str, rollout: Rollout) -> None:
        """Replace the fleet: ``Updating``, then ``InService`` on the new config or, rolled back, on the old."""
        endpoint.pending_deployment_summary = {"EndpointConfigName": config_name, "StartTime": now()}
        self._status(endpoint, "Updating")
        self._in_background(self._deploy, endpoint, config_name, rollout)

    def delete(self, endpoint: Any) -> None:
        """Take the endpoint out of traffic at once, then stop it and forget it."""
        self._status(endpoint, "Deleting")
        self.routes.pop(endpoint.endpoint_name, None)
        self._in_background(self._tear_down, endpoint)

    def close(self) -> None:
        """Leave everything as the journal has it: this program ends."""
        self._closing.set()

    def _bring_up(self, endpoint: Any) -> None:
        name = endpoint.endpoint_name
        try:
            fleet = self._fleet(name, endpoint.endpoint_config_name)
            fleet.start()
        except ServingError as error:
            if not self._closing.is_set():
                endpoint.failure_reason = str(error)
                self._status(endpoint, "Failed")
            return
        self._fleets[name] = fleet
        self.routes[name] = Route(((fleet, 100.0),))
        self._status(endpoint, "InService")

    def _deploy(self, endpoint: Any, config_name: str, rollout: Rollout) -> None:
        name = endpoint.endpoint_name
        blue = self._fleets[name]
        try:
            green = self._fleet(name, config_name)
            green.start()
        except ServingError as error:
            _log.warning("endpoint %s: %s; it stays on %s", name, error, endpoint.endpoint_config_name)
            self._return_to_service(endpoint)
            return
        if self._shift(name, blue, green, rollout):
            self.routes[name] = Route(((green, 100.0),))
            blue.drain(self._settings.request_timeout_seconds)
            if self._closing.is_set():
                return
            blue.stop()
            self._fleets[name] = green
            endpoint.endpoint_config_name = config_name
            variants = self._backend.endpoint_configs[config_name].production_variants
            endpoint.production_variants = endpoint._process_production_variants(variants)
            endpoint.failure_reason = None
        elif not self._closing.is_set():
            self._status(endpoint, "RollingBack")
            self.routes[name] = Route(((blue, 100.0),))
            green.drain(self._settings.request_timeout_seconds)
            green.stop()
        self._return_to_service(endpoint)

    def _shift(self, name: str, blue: Fleet, green: Fleet, rollout: Rollout) -> bool:
        """Move the traffic step by step; ``False`` when an alarm rang, the time ran out or the program ends."""
        deadline = time.monotonic() + rollout.timeout
        for share in rollout.shares:
            self.routes[name] = Route.split(blue, green, share)
            if not self._bake(name, rollout, rollout.wait, deadline):
                return False
        return self._bake(name, rollout, rollout.termination_wait, deadline)

    def _bake(self, name: str, rollout: Rollout, seconds: float, deadline: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            in_alarm = self._alarms.in_alarm(rollout.alarms)
            if in_alarm or time.monotonic() > deadline:
                _log.warning("endpoint %s rolls back: %s", name, in_alarm or "the deployment took too long")
                return False
            left = until - time.monotonic()
            if left <= 0:
                return True
            if self._closing.wait(min(left, _WATCH_INTERVAL)):
                return False

    def _return_to_service(self, endpoint: Any) -> None:
        if not self._closing.is_set():
            endpoint.pending_deployment_summary = None
            self._status(endpoint, "InService")

    def _tear_down(self, endpoint: Any) -> None:
        fleet = self._fleets.pop(endpoint.endpoint_name, None)
        if fleet is not None:
            fleet.drain(self._settings.request_timeout_seconds)
            if self._closing.is_set():
                return
            fleet.stop()
        self._backend.endpoints.pop(endpoint.endpoint_name, None)
        self._changed()

    def _fleet(self, endpoint_name: str, config_name: str) -> Fleet:
        variants = []
        for declared in self._backend.endpoint_configs[config_name].production_variants:
            name, model_name = declared["VariantName"], declared["ModelName"]
            model = self._backend._models.get(model_name)
            if model is None:
                raise ServingError(f"Could not find model {model_name!r}")
            described = model.primary_container or (model.containers or [{}])[0]
            container = Container(
                image=described.get("Image", ""),
                model_data_url=described.get("ModelDataUrl") or "",
                environment=described.get("Environment") or {},
            )
            process = ServingProcess(
                container,
                self._settings.work_dir / "endpoints" / endpoint_name / f"{config_name}-{name}-{uuid.uuid4().hex[:8]}",
                self._settings.lake_dir / self._settings.bucket / "logs/endpoints" / endpoint_name / config_name / name,
                self._settings,
                self._processes,
            )
            timeout = declared.get("ContainerStartupHealthCheckTimeoutInSeconds") or self._settings.ping_timeout_seconds
            weight = declared.get("InitialVariantWeight")
            variants.append(Variant(name, 1.0 if weight is None else float(weight), process, float(timeout)))
        return Fleet(config_name, tuple(variants))

    def _status(self, endpoint: Any, status: str) -> None:
        endpoint.endpoint_status = status
        endpoint.last_modified_time = now()
        self._changed()

    def _in_background(self, function: Callable[..., None], endpoint: Any, *args: Any) -> None:
        def run() -> None:
            try:
                function(endpoint, *args)
            except Exception as error:
                # An endpoint must never stay in transition because of this program.
                _log.exception("endpoint %s", endpoint.endpoint_name)
                endpoint.failure_reason = f"Internal error: {error!r}"
                self._status(endpoint, "Failed")

        threading.Thread(target=run, name=f"endpoint-{endpoint.endpoint_name}", daemon=True).start()
