"""The running experiment of an endpoint, read from DynamoDB and kept for some seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from adrank.contracts.experiments import Experiment
from adrank.runtime.rate_limited_log import RateLimitedLogger

_LOG: Final = logging.getLogger(__name__)


class RunningExperiment:
    """Thread-safe. While DynamoDB fails the last known answer holds, but never past ``max_age`` seconds.

    After that there is no experiment: an experiment that cannot be read cannot be stopped either, so nobody may be
    sent to an endpoint that nobody can take out of the traffic.
    """

    def __init__(
        self,
        dynamodb: Any,
        table: str,
        endpoint: str,
        cache_seconds: float,
        max_age: float,
        clock: Callable[[], float],
    ) -> None:
        if not 0 <= cache_seconds <= max_age:
            raise ValueError(f"max_age ({max_age:g} s) must not be below cache_seconds ({cache_seconds:g} s)")
        self._dynamodb = dynamodb
        self._table = table
        self._endpoint = endpoint
        self._cache_seconds = cache_seconds
        self._max_age = max_age
        self._clock = clock
        self._lock = Lock()
        self._cached: Experiment | None = None
        self._read_at = self._refreshed_at = float("-inf")
        self._log = RateLimitedLogger(_LOG, clock=clock)

    def current(self) -> Experiment | None:
        """The running experiment, or ``None``. One caller refreshes; the others go on with what is known."""
        # Before the very first answer everybody waits, or the first requests would skip the experiment.
        never_refreshed = self._refreshed_at == float("-inf")
        if self._is_due() and self._lock.acquire(blocking=never_refreshed):
            try:
                if self._is_due():
                    self._refresh()
            finally:
                self._lock.release()
        return self._cached if self._clock() - self._read_at <= self._max_age else None

    def _is_due(self) -> bool:
        return self._clock() - self._refreshed_at >= self._cache_seconds

    def _refresh(self) -> None:
        try:
            running = [e for e in self._read() if e.status == "running"]
        except (ClientError, BotoCoreError, ValidationError, KeyError) as error:
            self._log.warning(self._table, f"cannot read the experiments of {self._endpoint}: {error}")
        else:
            if len(running) > 1:
                self._log.warning(
                    self._endpoint,
                    f"{len(running)} experiments run at once ({', '.join(e.experiment_id for e in running)}); "
                    "routing the one that started last",
                )
            self._cached = max(running, key=lambda e: (e.start, e.experiment_id), default=None)
            self._read_at = self._clock()
        self._refreshed_at = self._clock()

    def _read(self) -> list[Experiment]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="endpoint = :endpoint",
            FilterExpression="#status = :running",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":endpoint": {"S": self._endpoint}, ":running": {"S": "running"}},
        )
        return [Experiment.model_validate_json(item["document"]["S"]) for page in pages for item in page["Items"]]
