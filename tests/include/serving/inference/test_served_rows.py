"""Served rows are logged as the model saw them; the log never stands in a request's way, and counts what it drops."""

from __future__ import annotations

import json
import math
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from adrank.contracts import lake, registry
from adrank.contracts.entry_points.serving import ServedRowsEnvironment, ServingEnvironment, StoresEnvironment
from adrank.contracts.online_layout import pack
from adrank.contracts.sagemaker_requests import serving_environment
from adrank.contracts.settings import Settings
from adrank.online.reader import FetchResult
from adrank.online.vectors import GroupDecoder, VectorLayout
from serving.inference.app import create_app
from serving.inference.served_rows import ServedRequest, ServedRowsLog
from serving.inference.service import load_service
from tests.include.serving.containers import request, served
from tests.support.online_stores import AS_OF, REGION, OnlineRows

REGISTRY = registry.load()
GROUP = REGISTRY.group("ad_engagement")
LAYOUT = VectorLayout.of(REGISTRY, ("ctr_7d", "context.slot", "impressions_7d"))
CTR, IMPRESSIONS = (GROUP.names.index(name) for name in ("ctr_7d", "impressions_7d"))
ROW = [0.1 * n for n in range(len(GROUP.features))]
BUCKET = "lake-under-test"


def ranked(
    *packed: bytes | None, at: datetime = AS_OF, ids: list[str | None] | None = None, outages: Any = ()
) -> ServedRequest:
    rows = {GROUP.name: GroupDecoder(GROUP).decode(packed, at.timestamp())}
    vectors = LAYOUT.assemble(rows, [{"slot": 1.0}] * len(packed))
    names: list[str | None] = ids or [f"a{n}" for n in range(len(packed))]
    return ServedRequest(at, {"ad": names}, FetchResult(rows, outages), vectors)


def logged(body: bytes) -> list[dict[str, Any]]:
    """The logged rows of an object, each with what its line says of all of them."""
    found = []
    for line in map(json.loads, body.splitlines()):
        values = np.frombuffer(b64decode(line.pop("rows")), dtype="<f4").reshape(-1, len(line["features"])).tolist()
        names = line.pop("features")
        each = zip(line.pop("entities"), line.pop("as_of"), line.pop("reasons"), values, strict=True)
        found += [
            {**line, "entity_id": e, "as_of": a, "reason": r, "values": dict(zip(names, v, strict=True))}
            for e, a, r, v in each
        ]
    return found


class Lake:
    """Keeps objects; a put may be made to wait or to fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.open = threading.Event()
        self.entered = threading.Event()
        self.broken = False
        self.open.set()

    def put(self, key: str, body: bytes) -> None:
        self.entered.set()
        self.open.wait(10)
        if self.broken:
            raise OSError("no space")
        assert key not in self.objects
        self.objects[key] = body

    def rows(self, hour: datetime) -> list[dict[str, Any]]:
        bodies = [body for key, body in sorted(self.objects.items()) if key.startswith(lake.SERVED_ROWS.hour(hour))]
        return [row for body in bodies for row in logged(body)]


@pytest.fixture
def store() -> Lake:
    return Lake()


@pytest.fixture
def make_log(store: Lake) -> Iterator[Callable[..., ServedRowsLog]]:
    made = []

    def make(share: float = 1, **options: Any) -> ServedRowsLog:
        made.append(ServedRowsLog(LAYOUT, store.put, share, **options))
        return made[-1]

    yield make
    store.open.set()
    for log in made:
        log.close()


def test_a_row_is_logged_with_what_the_model_was_given(store: Lake, make_log: Callable[..., ServedRowsLog]) -> None:
    log = make_log()
    log.offer("q", ranked(pack(GROUP, AS_OF - timedelta(hours=2), ROW)))
    log.close()
    (row,) = store.rows(AS_OF)
    assert row == {
        "group": "ad_engagement",
        "fingerprint": GROUP.fingerprint,
        "entity_id": "a0",
        "as_of": int((AS_OF - timedelta(hours=2)).timestamp()),
        "reason": None,
        "event_time": AS_OF.isoformat(),
        "values": {"ctr_7d": float(np.float32(ROW[CTR])), "impressions_7d": float(np.float32(ROW[IMPRESSIONS]))},
    }


def test_defaults_say_why(store: Lake, make_log: Callable[..., ServedRowsLog]) -> None:
    stale = pack(GROUP, AS_OF - timedelta(hours=GROUP.ttl_hours + 1), ROW)
    log = make_log()
    log.offer("q", ranked(None, stale, bytes(8) + stale[8:]))
    log.offer("q", ranked(None, ids=["down"], outages=("ad_engagement",)))
    log.close()
    rows = store.rows(AS_OF)
    assert [row["reason"] for row in rows] == ["missing", "stale", "other layout", "outage"]
    assert all(row["values"] == {"ctr_7d": pytest.approx(math.nan, nan_ok=True), "impressions_7d": 0} for row in rows)


def test_an_entity_is_logged_once_per_request_and_an_unknown_one_not_at_all(
    store: Lake, make_log: Callable[..., ServedRowsLog]
) -> None:
    packed = pack(GROUP, AS_OF, ROW)
    log = make_log()
    log.offer("q", ranked(packed, packed, None, ids=["a", "a", None]))
    log.close()
    assert [row["entity_id"] for row in store.rows(AS_OF)] == ["a"]


def test_rows_lie_under_the_hour_of_their_requests(store: Lake, make_log: Callable[..., ServedRowsLog]) -> None:
    log = make_log()
    for hours in (0, 1, 0):
        log.offer("q", ranked(None, at=AS_OF + timedelta(hours=hours)))
    log.close()
    assert len(store.rows(AS_OF)) == 2
    assert len(store.rows(AS_OF + timedelta(hours=1))) == 1
    assert len(store.objects) == 2


def test_a_full_buffer_is_written_without_waiting_for_the_clock(
    store: Lake, make_log: Callable[..., ServedRowsLog]
) -> None:
    log = make_log(flush_rows=2)
    log.offer("q", ranked(None, None))
    assert store.entered.wait(5)


def test_what_is_there_is_written_after_some_time(store: Lake, make_log: Callable[..., ServedRowsLog]) -> None:
    log = make_log(flush_seconds=0.01)
    log.offer("q", ranked(None))
    assert store.entered.wait(5)


def test_a_store_that_hangs_costs_samples_and_no_request_waits(
    store: Lake, make_log: Callable[..., ServedRowsLog]
) -> None:
    store.open.clear()
    log = make_log(max_queued=2, flush_rows=1)
    log.offer("q", ranked(None))
    assert store.entered.wait(5)
    for _ in range(5):
        log.offer("q", ranked(None))
    assert log.counters() == {"served_log.dropped": 3}
    store.open.set()
    log.close()
    assert log.counters() == {"served_log.dropped": 3, "served_log.written": 3}


def test_rows_that_cannot_be_written_are_counted_and_later_ones_are_tried_again(
    store: Lake, make_log: Callable[..., ServedRowsLog], caplog: pytest.LogCaptureFixture
) -> None:
    store.broken = True
    log = make_log(flush_rows=1)
    log.offer("q", ranked(None, None))
    log.close()
    assert log.counters() == {"served_log.lost": 2}
    assert "2 rows lost" in caplog.text
    assert "no space" in caplog.text


def test_a_request_that_cannot_be_logged_does_not_end_the_log(
    store: Lake, make_log: Callable[..., ServedRowsLog]
) -> None:
    log = make_log()
    log.offer("q", ranked(None)._replace(fetched=FetchResult({}, ())))
    log.offer("q", ranked(None))
    log.close()
    assert log.counters() == {"served_log.dropped": 1, "served_log.written": 1}


def test_a_share_of_the_searches_is_taken_and_always_the_same(
    store: Lake, make_log: Callable[..., ServedRowsLog]
) -> None:
    logs = [make_log(0.2, max_queued=2000), make_log(0.2, max_queued=2000)]
    for log in logs:
        for n in range(1000):
            log.offer(f"search-{n}", ranked(None))
        log.close()
    first, second = (log.counters()["served_log.written"] for log in logs)
    assert first == second
    assert 150 < first < 250


def test_a_share_of_nothing_takes_nothing(store: Lake, make_log: Callable[..., ServedRowsLog]) -> None:
    log = make_log(0)
    log.offer("q", ranked(None))
    log.close()
    assert store.objects == {}


def test_the_environment_of_a_model_says_where_and_how_much() -> None:
    settings = Settings()
    environment = serving_environment(settings, "digest")
    assert ServedRowsEnvironment.read(environment) == ServedRowsEnvironment(bucket=settings.lake.bucket, share=0.01)
    assert StoresEnvironment.read(environment).region == settings.region
    assert not ServedRowsEnvironment.read({**environment, "ADRANK_SERVED_SAMPLE": "0"}).share
    assert not ServedRowsEnvironment.read({}).share


@pytest.mark.parametrize("share", ["2", "-0.1", "some"])
def test_an_impossible_share_is_refused(share: str) -> None:
    with pytest.raises(ValidationError, match="ADRANK_SERVED_SAMPLE"):
        ServedRowsEnvironment.read({"ADRANK_SERVED_SAMPLE": share})


@pytest.fixture
def lake_bucket(account: Any) -> Any:
    client = boto3.client("s3", region_name=REGION)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


def test_a_container_logs_what_it_served_and_writes_it_when_it_ends(
    learned: tuple[Path, str],
    environment: Callable[[Path, str], dict[str, str]],
    rows: OnlineRows,
    lake_bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment(*learned)
    monkeypatch.setenv("ADRANK_SERVED_SAMPLE", "1")
    monkeypatch.setenv("ADRANK_SERVED_BUCKET", BUCKET)
    rows.put("ad_engagement", "a0", (7, 8, 9))
    app = create_app(load_service(ServingEnvironment.read(), REGISTRY))
    with served(app) as client:
        _rank(client, request(2))
        _rank(client, request(1, event_time=None))
    keys = [item["Key"] for item in lake_bucket.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert len(keys) == 1, "a request without event time belongs to no hour"
    assert keys[0].startswith(lake.SERVED_ROWS.hour(AS_OF))
    body = lake_bucket.get_object(Bucket=BUCKET, Key=keys[0])["Body"].read()
    found = {(row["group"], row["entity_id"]): row for row in logged(body)}
    assert {entity for group, entity in found if group == "ad_engagement"} == {"a0", "a1"}
    assert found["ad_engagement", "a0"]["reason"] is None
    assert found["ad_engagement", "a0"]["values"][GROUP.names[0]] == 7
    assert found["ad_engagement", "a1"]["reason"] == "missing"


def _rank(client: httpx.Client, body: dict[str, Any]) -> None:
    assert client.post("/invocations", json=body).status_code == 200
