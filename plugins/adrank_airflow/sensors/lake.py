"""Wait, off the worker, until the lake holds what a run needs."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from adrank.contracts import lake, registry
from adrank.contracts.timestamps import DAY, HOUR, floor_hour
from adrank_airflow.base import MomentTask
from adrank_airflow.errors import DeadlineError
from adrank_airflow.triggers.polling import run_deadline

if TYPE_CHECKING:
    from airflow.sdk import Context


class LakeKeysSensor(MomentTask, BaseSensorOperator):
    """Waits until the lake holds :meth:`keys`."""

    ui_color = "#e8e8e8"

    @property
    def wait_timeout(self) -> timedelta:
        """How long after the run began the keys may still come."""
        return self.settings.airflow.raw_ready_timeout

    @abstractmethod
    def keys(self) -> list[str]:
        """What has to be there."""

    def poke(self, context: Context) -> bool:
        """Whether they are."""
        del context
        return all(self.lake.find(key) is not None for key in self.keys())

    def execute(self, context: Context) -> None:
        """Go on if the keys exist, else defer until they do or the run's deadline passes."""
        if not self.poke(context):
            self.defer_until_keys(self.keys(), run_deadline(context, self.wait_timeout))

    def finish(self, context: Context, event: dict[str, Any]) -> None:
        """Go on, or name what is missing."""
        del context
        if event["status"] != "ready":
            missing = ", ".join(lake.uri(self.settings.lake.bucket, key) for key in event["missing"])
            raise DeadlineError(f"still missing at the deadline: {missing}")


class RawHourSensor(LakeKeysSensor):
    """The raw hour is closed: manifests say that all its events and all changes of the catalogue are there."""

    def keys(self) -> list[str]:
        """The raw hour's manifests of events and of change data."""
        changes = [lake.RAW_CDC(table).manifest(self.moment) for table in ("ads", "sellers")]
        return [lake.RAW_EVENTS.manifest(self.moment), *changes]


class FeaturesReadySensor(LakeKeysSensor):
    """The last feature hour that a run may see is there, of every group."""

    def keys(self) -> list[str]:
        """The manifests of the last whole hour before the moment."""
        hour = floor_hour(self.moment) - HOUR
        return [lake.FEATURES(group.name).manifest(hour) for group in registry.load().groups]


class WindowsReadySensor(LakeKeysSensor):
    """The windows of a day's last hour are kept, of every group that counts events."""

    def keys(self) -> list[str]:
        """The manifests of the windows."""
        hour = self.moment + DAY - HOUR
        return [lake.WINDOWS(group.name).manifest(hour) for group in registry.load().with_input("events")]


class BillingExportSensor(LakeKeysSensor):
    """A day's billing export was delivered: its control total, which the billing system writes last, is there."""

    @property
    def wait_timeout(self) -> timedelta:
        """How long a night waits for its export."""
        return self.settings.billing.export_timeout

    def keys(self) -> list[str]:
        """The control total."""
        return [lake.BILLING_CONTROL.key(self.moment)]
