"""What the marketplace's backend calls to rank a search: it chooses the endpoint and says what the user was exposed to.

Assignment is by user and sticky. When treatment cannot rank a request, production does, and the user *stays* in
treatment for the analysis (intention to treat): taking the requests that treatment failed out of its variant would
make a failing model look better than it is. ``model_version`` always names the model that really ranked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from adrank.contracts.experiments import Experiment, Variant, assign
from serving.router.experiments import RunningExperiment


class EndpointError(RuntimeError):
    """The production endpoint did not rank the request, or no usable answer came."""


class RejectedRequestError(ValueError):
    """The production endpoint found the request invalid; the message is the container's and names the field."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What goes into the user's events. Without an experiment ``experiment_id`` and ``variant`` are empty.

    ``endpoint`` and ``model_version`` are of the model that ranked; ``fallback`` says that it was not the one that
    the variant names.
    """

    experiment_id: str
    variant: Variant | Literal[""]
    model_version: str
    endpoint: str
    fallback: bool


@dataclass(frozen=True, slots=True)
class RankResult:
    """Ad ids best first, the container's whole answer, and the exposure."""

    ranking: tuple[str, ...]
    response: Mapping[str, Any]
    exposure: Exposure


class Router:
    """Thread-safe; one per process. ``endpoint`` is the production endpoint."""

    def __init__(
        self,
        endpoint: str,
        experiments_table: str,
        *,
        region: str | None = None,
        cache_seconds: float = 5.0,
        max_age_seconds: float = 60.0,
        timeout_seconds: float = 1.0,
        connections: int = 32,
        dynamodb: Any | None = None,
        runtime: Any | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        region = region or os.environ.get("AWS_REGION")
        # Every retry here is the router's own: botocore's back-off waits longer than a user does.
        config = Config(
            connect_timeout=timeout_seconds,
            read_timeout=timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=connections,
            tcp_keepalive=True,
        )
        self.endpoint = endpoint
        self._runtime = runtime or boto3.client("sagemaker-runtime", region_name=region, config=config)
        self._experiment = RunningExperiment(
            dynamodb or boto3.client("dynamodb", region_name=region, config=config),
            experiments_table,
            endpoint,
            cache_seconds,
            max_age_seconds,
            clock,
        )

    def rank(self, request: Mapping[str, Any]) -> RankResult:
        """Rank a request of the form that the container takes.

        :raises RejectedRequestError: the request is invalid
        :raises EndpointError: production could not rank it either
        """
        experiment = self._experiment.current()
        variant = _variant(experiment, request)
        body = json.dumps(request, separators=(",", ":"), default=_moment).encode()
        candidates = len(request.get("candidates", ()))
        endpoint, answer = self.endpoint, None
        if experiment is not None and variant == "treatment":
            with suppress(EndpointError, RejectedRequestError):
                answer = self._invoke(experiment.treatment_endpoint, body, candidates)
                endpoint = experiment.treatment_endpoint
        if answer is None:
            answer = self._production(body, candidates)
        exposure = Exposure(
            experiment_id=experiment.experiment_id if experiment is not None else "",
            variant=variant,
            model_version=answer["model_version"],
            endpoint=endpoint,
            fallback=experiment is not None and variant == "treatment" and endpoint != experiment.treatment_endpoint,
        )
        return RankResult(tuple(row["ad_id"] for row in answer["ranking"]), answer, exposure)

    def _production(self, body: bytes, candidates: int) -> dict[str, Any]:
        try:
            return self._invoke(self.endpoint, body, candidates)
        except EndpointError:
            return self._invoke(self.endpoint, body, candidates)

    def _invoke(self, endpoint: str, body: bytes, candidates: int) -> dict[str, Any]:
        try:
            response = self._runtime.invoke_endpoint(
                EndpointName=endpoint, Body=body, ContentType="application/json", Accept="application/json"
            )
            answer: dict[str, Any] = json.loads(response["Body"].read())
            if len(answer["ranking"]) != candidates or not answer["model_version"]:
                raise EndpointError(f"endpoint {endpoint} ranked {len(answer['ranking'])} of {candidates} candidates")
        except ClientError as error:
            if error.response["Error"]["Code"] == "ModelError" and error.response.get("OriginalStatusCode") == 400:
                raise RejectedRequestError(_error_message(error.response.get("OriginalMessage", str(error)))) from error
            raise EndpointError(f"endpoint {endpoint}: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise EndpointError(f"endpoint {endpoint}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise EndpointError(f"endpoint {endpoint} did not answer with a ranking: {error!r}") from error
        return answer


def _variant(experiment: Experiment | None, request: Mapping[str, Any]) -> Variant | Literal[""]:
    if experiment is None:
        return ""
    if _event_time(request) < experiment.start:
        return "control"
    user_id = request.get("user_id")
    if not isinstance(user_id, str) or not user_id:
        raise RejectedRequestError(f"user_id: must be a non-empty string, got {user_id!r}")
    return assign(experiment.salt, experiment.treatment_share, user_id)


def _event_time(request: Mapping[str, Any]) -> datetime:
    value = request.get("event_time")
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise RejectedRequestError(
            f"event_time: an experiment runs, so it must be a time with an offset, got {value!r}"
        )
    return moment


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be sent to an endpoint")


def _error_message(message: str) -> str:
    """The container's own words, out of the JSON that it put them in."""
    try:
        return str(json.loads(message)["error"])
    except (ValueError, KeyError, TypeError):
        return message
