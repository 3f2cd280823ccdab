"""What a store or broker refuses is tried again until it works; meanwhile nothing else is read and nothing dropped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from confluent_kafka import KafkaException

from adrank.kafka.producer import DeliveryError
from adrank.storage.object_store import ObjectStoreError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_FIRST_SECONDS: Final = 0.2
_LAST_SECONDS: Final = 5.0
_REFUSALS: Final = (ObjectStoreError, DeliveryError, KafkaException)


class Patience:
    """Retries with growing pauses. Once ``stop`` is set the next failure is final: what is held stays in Kafka."""

    def __init__(self, stop: threading.Event, retried: Callable[[], None]) -> None:
        self._stop = stop
        self._retried = retried

    def until_done(self, work: Callable[[], _T]) -> _T:
        """The result of ``work``, however long that takes. What no waiting mends is raised at once."""
        pause = _FIRST_SECONDS
        while True:
            try:
                return work()
            except _REFUSALS as error:
                permanent = isinstance(error, ObjectStoreError) and not error.is_transient
                if permanent or self._stop.is_set():
                    raise
                self._retried()
                _log.warning("Trying again in %.1f s: %s", pause, error)
            self._stop.wait(pause)
            pause = min(2 * pause, _LAST_SECONDS)
