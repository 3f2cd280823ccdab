"""Wait, off the worker, until the lake holds what a run needs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from adrank.contracts import lake, registry
from adrank.contracts.timestamps import DAY, HOUR, floor_hour
from adrank_airflow.base import AdrankTask
from adrank_airflow.errors import DeadlineError
from adrank_airflow.triggers.polling import run_deadline

if TYPE_CHECKING:
    from airflow.sdk import Context


class LakeKeysSensor(AdrankTask, BaseSensorOperator):
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
        return all(self.lake.exists(key) for key in self.keys())

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
    """The raw hour is closed: manifests say that all its events and all changes of the catalogue are there.

    :param hour: ISO start of the hour; templated.
    """

    template_fields: Sequence[str] = ("hour",)

    def __init__(self, *, hour: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hour = hour

    def keys(self) -> list[str]:
        """The raw hour's manifests of events and of change data."""
        hour = datetime.fromisoformat(self.hour)
        changes = [lake.RAW_CDC(table).manifest(hour) for table in ("ads", "sellers")]
        return [lake.RAW_EVENTS.manifest(hour), *changes]


class FeaturesReadySensor(LakeKeysSensor):
    """The last feature hour that a run may see is there, of every group.

    :param as_of: ISO time; templated.
    """

    template_fields: Sequence[str] = ("as_of",)

    def __init__(self, *, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_of = as_of

    def keys(self) -> list[str]:
        """The manifests of the last whole hour before ``as_of``."""
        hour = floor_hour(datetime.fromisoformat(self.as_of)) - timedelta(hours=1)
        return [lake.FEATURES(group.name).manifest(hour) for group in registry.load().groups]


class WindowsReadySensor(LakeKeysSensor):
    """The windows of a day's last hour are kept, of every group that counts events.

    :param day: ISO start of the day; templated.
    """

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, day: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.day = day

    def keys(self) -> list[str]:
        """The manifests of the windows."""
        hour = datetime.fromisoformat(self.day) + DAY - HOUR
        return [lake.WINDOWS(group.name).manifest(hour) for group in registry.load().with_input("events")]


class BillingExportSensor(LakeKeysSensor):
    """A day's billing export was delivered: its control total, which the billing system writes last, is there.

    :param day: ISO start of the day; templated.
    """

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, day: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.day = day

    @property
    def wait_timeout(self) -> timedelta:
        """How long a night waits for its export."""
        return self.settings.billing.export_timeout

    def keys(self) -> list[str]:
        """The control total."""
        return [lake.BILLING_CONTROL.key(datetime.fromisoformat(self.day))]
