"""A topic and a lake as the archiver's tests have them."""

from tests.include.ingestion.archiver.conftest import broker, make_stream, object_store, stream

__all__ = ["broker", "make_stream", "object_store", "stream"]
