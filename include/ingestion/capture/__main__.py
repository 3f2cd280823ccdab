"""``python -m ingestion.capture [--bucket B]``: runs until SIGTERM or SIGINT, or until something fails.

A failure is one line on stderr and exit code 1; whoever keeps the process running starts it again, at its checkpoint.
SIGTERM lands what is buffered and ends with 0.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Final

from adrank.contracts.entry_points.command_line import LakeArguments
from adrank.contracts.settings import Settings, load
from adrank.runtime.service import MetricsPortError, log_to_stderr, serve_metrics, stop_on_signals
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
    MetricsPortError,
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


class CaptureArguments(LakeArguments):
    """Capture changes into the lake."""

    program = "ingestion.capture"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = CaptureArguments.parse(arguments)
    settings = load()
    # The engine and its bridge to the JVM are talkative.
    log_to_stderr(logging.WARNING)
    _LOG.setLevel(logging.INFO)
    with stop_on_signals() as stop:
        try:
            serve_metrics(settings.cdc.metrics_host, settings.cdc.metrics_port)
            capture(settings, args.bucket, stop)
        except _ERRORS as error:
            print(f"ingestion.capture: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
