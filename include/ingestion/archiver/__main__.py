"""Command line of the archiver. SIGTERM and SIGINT flush what is held and end with exit code 0."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from adrank.contracts import settings
from adrank.kafka.producer import DeliveryError
from adrank.storage.documents import FencedError
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.archiver.archiver import Archiver, PartitionsChangedError, tune_process
from ingestion.archiver.consumer import OffsetLostError, TopicMissingError
from ingestion.archiver.metrics import Metrics, MetricsPortError

_ERRORS = (
    MetricsPortError,
    ObjectStoreError,
    FencedError,
    OffsetLostError,
    TopicMissingError,
    DeliveryError,
    PartitionsChangedError,
)


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; returns the exit code."""
    known = settings.load()
    parser = argparse.ArgumentParser(prog="ingestion.archiver", description="Archive Kafka's events in the lake.")
    parser.add_argument("--instance", type=int, default=0, help="this one's number, from 0")
    parser.add_argument("--instances", type=int, default=1, help="how many there are: each owns every n-th partition")
    parser.add_argument("--bucket", default=known.lake.bucket, help="bucket of the lake")
    chosen = parser.parse_args(arguments)
    if not 0 <= chosen.instance < chosen.instances:
        parser.error(f"--instance {chosen.instance} is not one of 0 to {chosen.instances - 1}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tune_process()
    metrics = Metrics()
    try:
        metrics.serve(known.events.metrics_host, known.events.metrics_port)
        store = ObjectStore.connect(chosen.bucket, region=known.region)
        Archiver(store, known.events, metrics, stop, chosen.instance, chosen.instances).run()
    except _ERRORS as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
