"""``python -m stack.servers.broker_retention``: deletes from the broker's log what the archiver has in the lake.

In production Kafka's own retention does this by age, long after the archiver. Here the log is short-lived, and each
batch in it costs the broker time with every fetch, so a batch goes as soon as the archiver's checkpoint has passed it:
the checkpoint is durable and fenced, and no archiver ever reads from before it. The dead-letter topic is left alone.
"""

from __future__ import annotations

import logging
import sys
import threading

import boto3
from botocore.config import Config
from pydantic import Field

from adrank.contracts import settings
from adrank.contracts.entry_points.command_line import EntryPointArguments
from adrank.runtime.service import log_to_stderr, stop_on_signals
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.archiver import checkpoints
from stack.servers import kafka
from stack.servers.broker_log import BrokerLog, BrokerLogError

_log = logging.getLogger(__name__)


class Retention:
    """Deletes behind the checkpoints of a topic's archiver."""

    def __init__(self, log: BrokerLog, lake: ObjectStore, topic: str, partitions: int) -> None:
        self._log = log
        self._lake = lake
        self._topic = topic
        self._partitions = range(partitions)
        self._passed: dict[int, int] = {}

    def run_once(self) -> int:
        """Delete what all checkpoints have passed since the last time; returns how many batches went.

        :raises BrokerLogError: the broker's store refused some of it
        :raises ObjectStoreError: the lake did not say how far its archiver is
        """
        deleted = 0
        for checkpoint in checkpoints.read(self._lake, self._topic, self._partitions):
            # None: nobody has archived the partition yet, or nothing of it.
            offset = None if checkpoint is None else checkpoint.next_offset
            if checkpoint is None or offset is None or self._passed.get(checkpoint.partition) == offset:
                continue
            deleted += self._log.delete_before(checkpoint.partition, offset)
            self._passed[checkpoint.partition] = offset
        return deleted

    def run(self, stop: threading.Event, interval: float) -> None:
        """Delete every ``interval`` seconds until stopped; a store that refuses is asked again next time."""
        while not stop.wait(interval):
            try:
                self.run_once()
            except (BrokerLogError, ObjectStoreError) as error:
                _log.warning("%s", error)


class RetentionArguments(EntryPointArguments):
    """Delete what is archived from the broker's log."""

    program = "stack.servers.broker_retention"

    log_url: str = Field(description="S3 endpoint that holds the broker's log")
    interval: float = Field(default=10, description="seconds between two deletions")


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; the lake is where the environment's AWS access leads."""
    args = RetentionArguments.parse(arguments)
    log_to_stderr()
    given = settings.load()
    s3 = boto3.client("s3", endpoint_url=args.log_url, region_name=given.region, config=Config(proxies={}))
    topic = given.events.topic
    lake = ObjectStore.connect(given.lake.bucket, region=given.region)
    with stop_on_signals() as stop:
        Retention(BrokerLog(s3, kafka.BUCKET, topic), lake, topic, kafka.PARTITIONS).run(stop, args.interval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
