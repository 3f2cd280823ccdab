"""Command line of the archiver. SIGTERM and SIGINT flush what is held and end with exit code 0."""

from __future__ import annotations

import logging
import sys
from typing import Self

from pydantic import Field, model_validator

from adrank.contracts import settings
from adrank.contracts.entry_points.command_line import LakeArguments
from adrank.kafka.producer import DeliveryError
from adrank.runtime.service import MetricsPortError, log_to_stderr, serve_metrics, stop_on_signals
from adrank.storage.documents import FencedError
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.archiver.archiver import Archiver, PartitionsChangedError, tune_process
from ingestion.archiver.consumer import OffsetLostError, TopicMissingError
from ingestion.archiver.metrics import Metrics

_ERRORS = (
    MetricsPortError,
    ObjectStoreError,
    FencedError,
    OffsetLostError,
    TopicMissingError,
    DeliveryError,
    PartitionsChangedError,
)


class ArchiverArguments(LakeArguments):
    """Archive Kafka's events in the lake."""

    program = "ingestion.archiver"

    instance: int = Field(default=0, description="this one's number, from 0")
    instances: int = Field(default=1, description="how many there are: each owns every n-th partition")

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if not 0 <= self.instance < self.instances:
            raise ValueError(f"--instance {self.instance} is not one of 0 to {self.instances - 1}")
        return self


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; returns the exit code."""
    args = ArchiverArguments.parse(arguments)
    given = settings.load()
    log_to_stderr()
    tune_process()
    metrics = Metrics()
    with stop_on_signals() as stop:
        try:
            serve_metrics(given.events.metrics_host, given.events.metrics_port, metrics.registry)
            store = ObjectStore.connect(args.bucket, region=given.region)
            Archiver(store, given.events, metrics, stop, args.instance, args.instances).run()
        except _ERRORS as error:
            logging.error("%s", error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
