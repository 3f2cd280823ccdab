"""Wait, off the worker, until the lake holds what a run needs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from adrank.contracts import lake, registry
from adrank.contracts.settings import Settings
from adrank.contracts.timestamps import DAY, HOUR, floor_hour
from adrank_airflow.errors import DeadlineError
from adrank_airflow.hooks.lake import LakeHook
from adrank_airflow.triggers.lake_keys import LakeKeysTrigger
from adrank_airflow.triggers.polling import run_deadline

if TYPE_CHECKING:
    from airflow.sdk import Context


class LakeKeysSensor(BaseOperator):
    """Waits until the lake holds :meth:`keys`."""

    ui_color = "#e8e8e8"

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings

    @property
    def patience(self) -> timedelta:
        """How long after the run began the keys may still come."""
        return self.settings.airflow.raw_ready_timeout

    @abstractmethod
    def keys(self) -> list[str]:
        """What has to be there."""

    def execute(self, context: Context) -> None:
        """Go on if the keys exist, else defer until they do or the run's deadline passes."""
        settings = self.settings
        hook = LakeHook(settings.lake.bucket, settings.airflow.aws_conn_id, settings.region)
        if all(hook.exists(key) for key in self.keys()):
            return
        self.defer(
            trigger=LakeKeysTrigger(
                bucket=settings.lake.bucket,
                keys=self.keys(),
                deadline=run_deadline(context, self.patience).isoformat(),
                poll_seconds=settings.emr.poll_seconds,
                min_defer_seconds=self.settings.airflow.min_defer_seconds,
                aws_conn_id=settings.airflow.aws_conn_id,
                region_name=settings.region,
            ),
            method_name="finish",
        )

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
        changes = [lake.raw_cdc_manifest(table, hour) for table in ("ads", "sellers")]
        return [lake.raw_events_manifest(hour), *changes]


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
        return [lake.features_manifest(group.name, hour) for group in registry.load().groups]


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
        return [lake.windows(group.name, hour) + lake.MANIFEST for group in registry.load().reading("events")]


class BillingExportSensor(LakeKeysSensor):
    """A day's billing export was delivered: its control total, which the billing system writes last, is there.

    :param day: ISO start of the day; templated.
    """

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, day: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.day = day

    @property
    def patience(self) -> timedelta:
        """How long a night waits for its export."""
        return self.settings.billing.export_timeout

    def keys(self) -> list[str]:
        """The control total."""
        return [lake.billing_inbox(datetime.fromisoformat(self.day)) + "control.json"]
