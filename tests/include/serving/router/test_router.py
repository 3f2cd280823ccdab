"""Which endpoint ranks which user, and what is said about it."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from adrank.contracts.experiments import Experiment, bucket
from serving.router.router import EndpointError, RejectedRequestError, Router

TABLE = "experiments-under-test"
PRODUCTION, STAGING = "production", "staging"
START = datetime(2026, 3, 2, 12, tzinfo=UTC)
EXPERIMENT = Experiment(
    experiment_id="e1",
    salt="salt",
    treatment_share=0.3,
    control_endpoint=PRODUCTION,
    treatment_endpoint=STAGING,
    start=START,
    status="running",
    package_digest="f" * 64,
)
Answer = Callable[[], dict[str, Any]]


class Endpoints:
    """InvokeEndpoint: ranks as asked; ``failing`` endpoints raise or answer what they are told, call by call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, Exception | bytes | list[Exception | None]] = {}

    def invoke_endpoint(self, EndpointName: str, Body: bytes, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.calls.append(EndpointName)
        failure: Any = self.failing.get(EndpointName)
        if isinstance(failure, list):
            failure = failure.pop(0) if failure else None
        if isinstance(failure, Exception):
            raise failure
        if isinstance(failure, bytes):
            return {"Body": io.BytesIO(failure)}
        ads = [{"ad_id": c["ad_id"], "score": 0.0} for c in json.loads(Body)["candidates"]]
        return {"Body": io.BytesIO(json.dumps({"ranking": ads, "model_version": f"m-{EndpointName}"}).encode())}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Breakable:
    """A DynamoDB client that a test can break, and that counts its queries."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.broken = False
        self.queries = 0

    def get_paginator(self, operation: str) -> Any:
        self.queries += 1
        if self.broken:
            raise client_error("InternalServerError", 500)
        return self._client.get_paginator(operation)


def client_error(code: str, status: int, **members: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response | members, "Operation")


def request(user: str = "u1", event_time: str | datetime | None = None, **changes: Any) -> dict[str, Any]:
    moment = event_time or (START + timedelta(minutes=1)).isoformat()
    return {"search_id": "q", "user_id": user, "event_time": moment, "candidates": [{"ad_id": "a"}]} | changes


def user_in(variant: str, experiment: Experiment = EXPERIMENT) -> str:
    share = experiment.treatment_share * 10_000
    wanted = variant == "treatment"
    return next(u for u in map(str, range(1000)) if (bucket(experiment.salt, u) < share) == wanted)


@pytest.fixture(scope="module")
def account() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        client = boto3.client("dynamodb", region_name="eu-west-1")
        keys = ("endpoint", "HASH"), ("experiment_id", "RANGE")
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def table(account: Any) -> Breakable:
    for item in account.scan(TableName=TABLE)["Items"]:
        account.delete_item(TableName=TABLE, Key={k: item[k] for k in ("endpoint", "experiment_id")})
    return Breakable(account)


@pytest.fixture
def put(account: Any, table: Breakable) -> Callable[..., Experiment]:
    def put_experiment(**changes: Any) -> Experiment:
        experiment = EXPERIMENT.model_copy(update=changes)
        item = {
            "endpoint": experiment.control_endpoint,
            "experiment_id": experiment.experiment_id,
            "document": experiment.model_dump_json(),
            "status": experiment.status,
        }
        account.put_item(TableName=TABLE, Item={key: {"S": value} for key, value in item.items()})
        return experiment

    return put_experiment


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def router(table: Breakable, endpoints: Endpoints, clock: Clock) -> Router:
    return Router(PRODUCTION, TABLE, dynamodb=table, runtime=endpoints, clock=clock)


def test_without_an_experiment_production_ranks_and_the_exposure_is_empty(router: Router) -> None:
    exposure = router.rank(request()).exposure
    assert (exposure.experiment_id, exposure.variant, exposure.endpoint) == ("", "", PRODUCTION)
    assert exposure.model_version == "m-production"


@pytest.mark.parametrize(("variant", "endpoint"), [("control", PRODUCTION), ("treatment", STAGING)])
def test_a_user_is_ranked_by_the_endpoint_of_its_variant(
    router: Router, put: Callable[..., Experiment], variant: str, endpoint: str
) -> None:
    put()
    routed = router.rank(request(user_in(variant)))
    exposure = routed.exposure
    assert (exposure.experiment_id, exposure.variant, exposure.endpoint) == ("e1", variant, endpoint)
    assert exposure.model_version == f"m-{endpoint}"
    assert not exposure.fallback
    assert routed.ranking == ("a",)


def test_assignment_is_sticky_and_converges_to_the_share(router: Router, put: Callable[..., Experiment]) -> None:
    put()
    first = {user: router.rank(request(user)).exposure.variant for user in map(str, range(4000))}
    again = {user: router.rank(request(user)).exposure.variant for user in map(str, range(0, 4000, 7))}
    assert all(first[user] == variant for user, variant in again.items())
    # Four standard deviations of a binomial share.
    assert Counter(first.values())["treatment"] / 4000 == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 4000) ** 0.5)


@pytest.mark.parametrize("seconds", [-1, 0])
def test_before_its_start_on_the_event_clock_everyone_is_control(
    router: Router, put: Callable[..., Experiment], seconds: int
) -> None:
    put()
    moment = START + timedelta(seconds=seconds)
    exposure = router.rank(request(user_in("treatment"), moment)).exposure
    assert exposure.variant == ("control" if seconds < 0 else "treatment")


@pytest.mark.parametrize("moment", ["noon", "2026-03-02T12:00:00", 7])
def test_an_event_time_that_cannot_be_compared_is_refused_by_name(
    router: Router, put: Callable[..., Experiment], moment: Any
) -> None:
    put()
    with pytest.raises(RejectedRequestError, match="event_time"):
        router.rank(request(event_time=moment))


def test_a_user_that_cannot_be_assigned_is_refused_by_name(router: Router, put: Callable[..., Experiment]) -> None:
    put()
    with pytest.raises(RejectedRequestError, match="user_id"):
        router.rank(request(user=""))


def test_a_stopped_experiment_routes_nobody(router: Router, put: Callable[..., Experiment]) -> None:
    put(status="stopped")
    assert router.rank(request(user_in("treatment"))).exposure.variant == ""


def test_an_experiment_of_another_endpoint_routes_nobody_here(router: Router, put: Callable[..., Experiment]) -> None:
    put(control_endpoint="elsewhere")
    assert router.rank(request(user_in("treatment"))).exposure.variant == ""


def test_of_two_running_experiments_the_newer_is_routed_and_the_log_says_so(
    router: Router, put: Callable[..., Experiment], caplog: pytest.LogCaptureFixture
) -> None:
    put(experiment_id="e2", start=START + timedelta(seconds=1))
    put(experiment_id="e1")
    assert router.rank(request()).exposure.experiment_id == "e2"
    assert "2 experiments run at once" in caplog.text


def test_a_change_is_seen_when_the_cache_expires_and_not_before(
    router: Router, table: Breakable, put: Callable[..., Experiment], clock: Clock
) -> None:
    put()
    user = user_in("treatment")
    assert router.rank(request(user)).exposure.variant == "treatment"
    put(status="stopped")
    clock.now += 4.9
    assert router.rank(request(user)).exposure.variant == "treatment"
    assert table.queries == 1
    clock.now += 0.1
    assert router.rank(request(user)).exposure.variant == ""
    assert table.queries == 2


def test_while_dynamodb_fails_the_last_known_experiment_holds_until_it_is_too_old(
    router: Router, table: Breakable, put: Callable[..., Experiment], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    put()
    user = user_in("treatment")
    router.rank(request(user))
    table.broken = True
    clock.now += 60
    assert router.rank(request(user)).exposure.variant == "treatment"
    assert "cannot read the experiments of production" in caplog.text
    clock.now += 0.1
    exposure = router.rank(request(user)).exposure
    assert (exposure.experiment_id, exposure.variant, exposure.endpoint) == ("", "", PRODUCTION)
    table.broken = False
    clock.now += 5
    assert router.rank(request(user)).exposure.variant == "treatment"


def test_a_broken_dynamodb_is_asked_once_per_cache_time(router: Router, table: Breakable) -> None:
    table.broken = True
    for _ in range(5):
        assert router.rank(request()).exposure.variant == ""
    assert table.queries == 1


def test_a_document_that_cannot_be_read_routes_nobody_and_is_logged(
    router: Router, account: Any, table: Breakable, caplog: pytest.LogCaptureFixture
) -> None:
    item = {"endpoint": PRODUCTION, "experiment_id": "e1", "document": '{"salt": 1}', "status": "running"}
    account.put_item(TableName=TABLE, Item={key: {"S": value} for key, value in item.items()})
    assert router.rank(request(user_in("treatment"))).exposure.variant == ""
    assert "cannot read the experiments" in caplog.text


@pytest.mark.parametrize(
    "failure",
    [
        client_error("ModelError", 424, OriginalStatusCode=500, OriginalMessage="{}"),
        client_error("ModelError", 424, OriginalStatusCode=400, OriginalMessage="{}"),
        client_error("ValidationError", 400),
        client_error("ServiceUnavailable", 503),
        ReadTimeoutError(endpoint_url="staging"),
        b"not json",
        b'{"ranking": [], "model_version": "m"}',
        b'{"scores": []}',
    ],
)
def test_when_treatment_fails_production_ranks_and_the_user_stays_in_treatment(
    router: Router, put: Callable[..., Experiment], endpoints: Endpoints, failure: Any
) -> None:
    put()
    endpoints.failing = {STAGING: failure}
    exposure = router.rank(request(user_in("treatment"))).exposure
    assert (exposure.variant, exposure.experiment_id) == ("treatment", "e1")
    assert (exposure.model_version, exposure.endpoint, exposure.fallback) == ("m-production", PRODUCTION, True)
    assert endpoints.calls == [STAGING, PRODUCTION]


def test_production_is_tried_twice(router: Router, endpoints: Endpoints) -> None:
    endpoints.failing = {PRODUCTION: [client_error("ServiceUnavailable", 503), None]}
    assert not router.rank(request()).exposure.fallback
    endpoints.failing = {PRODUCTION: client_error("ServiceUnavailable", 503)}
    with pytest.raises(EndpointError, match=PRODUCTION):
        router.rank(request())
    assert endpoints.calls == [PRODUCTION] * 4


def test_a_datetime_is_sent_as_iso(router: Router) -> None:
    assert router.rank(request(event_time=START)).ranking == ("a",)


class _Gateway(BaseHTTPRequestHandler):
    """InvokeEndpoint as AWS words it: a model's own error comes as 424 ModelError."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "staging" in self.path:
            return self._answer(500, "InternalFailure", {"Message": "boom"})
        if not body["candidates"]:
            error = {"OriginalStatusCode": 400, "OriginalMessage": '{"error": "candidates: too short"}'}
            return self._answer(424, "ModelError", {"Message": "Received client error (400)"} | error)
        return self._answer(200, "", {"ranking": [{"ad_id": "a", "score": 1.0}], "model_version": "m"})

    def _answer(self, status: int, error: str, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def test_by_the_real_client_over_http(
    table: Breakable, put: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    gateway = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{gateway.server_port}")
    try:
        router = Router(PRODUCTION, TABLE, region="eu-west-1", dynamodb=table, timeout_seconds=5)
        exposure = router.rank(request(user_in("treatment"))).exposure
        assert (exposure.variant, exposure.fallback) == ("treatment", True)
        with pytest.raises(RejectedRequestError, match=r"^candidates: too short$"):
            router.rank(request(user_in("control"), candidates=[]))
    finally:
        gateway.shutdown()
        gateway.server_close()
    with pytest.raises(EndpointError, match=PRODUCTION):
        Router(PRODUCTION, TABLE, region="eu-west-1", dynamodb=table).rank(request(user_in("control")))
