"""``python -m ingestion.capture [--bucket B]``: runs until SIGTERM or SIGINT, or until something fails.

A failure is one line on stderr and exit code 1; whoever keeps the process running starts it again, at its checkpoint.
SIGTERM lands what is buffered and ends with 0.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from typing import Final

from adrank.contracts.settings import Settings, load
from adrank.storage.documents import FencedError
from adrank.storage.object_store import ObjectStore, ObjectStoreError
from ingestion.capture import database
from ingestion.capture.checkpoint import CheckpointError, CheckpointStore
from ingestion.capture.database import DatabaseError
from ingestion.capture.engine import DebeziumEngine, EngineError
from ingestion.capture.envelopes import EnvelopeError
from ingestion.capture.sink import ChangeSink, StoppedError

_ERRORS: Final = (
    CheckpointError,
    DatabaseError,
    EngineError,
    EnvelopeError,
    FencedError,
    ObjectStoreError,
    StoppedError,
)
_LOG: Final = logging.getLogger("ingestion.capture")


def capture(settings: Settings, bucket: str, stop: threading.Event) -> None:
    """Capture until ``stop`` is set.

    :raises DatabaseError, CheckpointError, EngineError, EnvelopeError, FencedError, ObjectStoreError, StoppedError: see
        there.
    """
    import boto3

    cdc = settings.cdc
    user = database.credentials(boto3.client("secretsmanager", region_name=settings.region), cdc.secret_id)
    source = database.inspect_source(cdc, user)
    store = ObjectStore.connect(bucket, region=settings.region)
    checkpoints = CheckpointStore(store, cdc.slot)
    checkpoint = checkpoints.load(source.log)
    if checkpoint.offset is not None and not source.has_slot:
        raise DatabaseError(
            f"replication slot {cdc.slot} is gone, so changes since s3://{bucket}/{checkpoints.key} are lost; "
            "delete that object to begin with a new snapshot"
        )
    engine = DebeziumEngine(cdc, user, source, checkpoint.offset)
    sink = ChangeSink(store, checkpoints, checkpoint, engine, cdc, stop)
    sink.recover()
    engine.start(sink.handle_batch)
    _LOG.info("capturing %s:%d/%s from %s", cdc.host, cdc.port, cdc.database, checkpoint.offset or "a snapshot")
    pause = min(max(cdc.flush_interval.total_seconds() / 4, 0.05), 1.0)
    try:
        while not stop.is_set() and not engine.wait(pause):
            sink.flush_if_due()
        engine.raise_failure()
        sink.close()
    finally:
        engine.close()


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    from prometheus_client import start_http_server

    settings = load()
    parser = argparse.ArgumentParser(prog="ingestion.capture", description="Capture changes into the lake.")
    parser.add_argument("--bucket", default=settings.lake.bucket, help="bucket of the lake")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    _LOG.setLevel(logging.INFO)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    start_http_server(settings.cdc.metrics_port, settings.cdc.metrics_host)
    try:
        capture(settings, chosen.bucket, stop)
    except _ERRORS as error:
        print(f"ingestion.capture: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
