"""The container over HTTP: what it ranks, what it refuses, and when it refuses to start at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from adrank.contracts import packages, registry
from adrank.contracts.entry_points.serving import ServingEnvironment, StoresEnvironment
from adrank.ranking.ranker import load_golden, load_package
from serving.inference import app
from serving.inference.app import create_app
from serving.inference.service import load_service
from tests.include.serving.containers import request, served
from tests.include.serving.packages import FEATURES, learned_package
from tests.support.online_stores import AS_OF, OnlineRows
from tests.support.ports import free_port

REGISTRY = registry.load()
INCLUDE = Path(app.__file__).resolve().parents[2]
Environment = Callable[[Path, str], dict[str, str]]


def put_ads(rows: OnlineRows, ads: int) -> list[dict[str, float]]:
    """Different values for each ad, one seller, two categories; returns the same as the offline rows by name."""

    def put(group_name: str, entity_id: str, seed: int) -> dict[str, float]:
        names = REGISTRY.group(group_name).names
        values = [float((7 * n + 11 * seed) % 50) for n in range(len(names))]
        rows.put(group_name, entity_id, values)
        return dict(zip(names, values, strict=True))

    seller = put("seller_stats", "s1", 3)
    affinity = [put("user_affinity", f"u%7C1|c{n}", n) for n in (0, 1)]
    return [
        put("ad_engagement", f"a{n}", n)
        | put("ad_attributes", f"a{n}", n + 5)
        | seller
        | affinity[n % 2]
        | {"context.query_match": 10.0 * n}
        for n in range(ads)
    ]


def test_ranks_best_first_with_the_scores_that_the_same_rows_get_offline(
    container: httpx.Client, learned: tuple[Path, str], rows: OnlineRows
) -> None:
    offline = put_ads(rows, 8)
    answer = container.post("/invocations", json=request(8)).json()
    vectors = np.array([[row[name] for name in FEATURES] for row in offline], dtype=np.float32)
    expected = load_package(learned[0] / "model").score(vectors)
    scores = {row["ad_id"]: row["score"] for row in answer["ranking"]}
    assert scores == {f"a{n}": pytest.approx(score) for n, score in enumerate(expected)}
    assert [row["score"] for row in answer["ranking"]] == sorted(scores.values(), reverse=True)
    assert len(set(scores.values())) > 1
    assert answer["package_digest"] == learned[1]
    assert answer["model_version"] == learned[1][:12]
    assert answer["missing"] == answer["stale"] == dict.fromkeys((g.name for g in REGISTRY.groups), 0)
    assert answer["outages"] == []


def test_equal_scores_keep_the_order_of_the_request(container: httpx.Client) -> None:
    candidates = [{"ad_id": name} for name in ("d", "b", "c", "a")]
    answer = container.post("/invocations", json=request(candidates=candidates)).json()
    assert [row["ad_id"] for row in answer["ranking"]] == ["d", "b", "c", "a"]


def test_missing_and_stale_entities_are_counted_in_the_answer_and_in_the_probe(
    container: httpx.Client, rows: OnlineRows
) -> None:
    put_ads(rows, 2)
    late = AS_OF + timedelta(hours=REGISTRY.group("ad_engagement").ttl_hours, seconds=1)
    answer = container.post("/invocations", json=request(3)).json()
    assert answer["missing"] == {"ad_engagement": 1, "ad_attributes": 1, "seller_stats": 0, "user_affinity": 0}
    answer = container.post("/invocations", json=request(3, event_time=late.isoformat())).json()
    assert answer["stale"]["ad_engagement"] == 2
    counters = container.post("/invocations", json={"probe": True}).json()["counters"]
    assert counters["rank"] == 2
    assert counters["ad_engagement.stale"] == 2


def test_a_candidate_without_a_category_has_the_defaults_of_its_features(
    container: httpx.Client, learned: tuple[Path, str], rows: OnlineRows
) -> None:
    (offline,) = put_ads(rows, 1)
    sent = request(1)
    del sent["candidates"][0]["category"]
    answer = container.post("/invocations", json=sent).json()
    assert answer["missing"] == {g.name: int(g.name == "user_affinity") for g in REGISTRY.groups}
    offline |= {f.name: f.default_value for f in REGISTRY.group("user_affinity").features}
    vector = np.array([[offline[name] for name in FEATURES]], dtype=np.float32)
    assert answer["ranking"][0]["score"] == pytest.approx(load_package(learned[0] / "model").score(vector)[0])


def test_without_event_time_nothing_is_stale(container: httpx.Client, rows: OnlineRows) -> None:
    put_ads(rows, 3)
    answer = container.post("/invocations", json=request(3, event_time=None)).json()
    assert sum(answer["stale"].values()) == 0


def test_golden_requests_are_reproduced(container: httpx.Client, learned: tuple[Path, str]) -> None:
    golden = load_golden(learned[0] / "model")
    answer = container.post("/invocations", json={"vectors": golden.vectors}).json()
    assert answer == {"scores": pytest.approx(golden.scores, abs=1e-12), "package_digest": learned[1]}


def test_the_probe_says_what_is_served(container: httpx.Client, learned: tuple[Path, str]) -> None:
    answer = container.post("/invocations", json={"probe": True}).json()
    assert answer["package_digest"] == learned[1]
    assert answer["features"] == list(FEATURES)
    assert answer["fingerprint"] == REGISTRY.fingerprint


def test_a_loaded_container_answers_its_ping(container: httpx.Client) -> None:
    assert container.get("/ping").status_code == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (request(candidates=[{"ad_id": "a"}, {"ad_id": 7}]), "candidates[1].ad_id: Input should be a valid string"),
        ({"vectors": [[0.0] * len(FEATURES), [1.0, 2.0]]}, f"vectors[1]: the model takes {len(FEATURES)} features"),
    ],
)
def test_a_bad_request_is_a_400_that_names_the_field(container: httpx.Client, body: Any, reason: str) -> None:
    answer = container.post("/invocations", json=body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


def test_a_thousand_candidates_are_ranked(container: httpx.Client) -> None:
    assert len(container.post("/invocations", json=request(1000)).json()["ranking"]) == 1000


def test_an_outage_of_both_stores_is_served_with_defaults(
    learned: tuple[Path, str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(*learned)
    monkeypatch.setenv("REDIS_PORT", str(free_port()))
    monkeypatch.setenv("FEATURES_TABLE", "no-such-table")
    with served(create_app(load_service(ServingEnvironment.read(), REGISTRY))) as client:
        answer = client.post("/invocations", json=request(3)).json()
    assert len(answer["ranking"]) == 3
    groups = [g.name for g in REGISTRY.groups]
    assert sorted(answer["outages"]) == sorted(groups)
    assert answer["missing"] == dict.fromkeys(groups, 3)


def test_a_failure_inside_is_a_500_that_does_not_tell_the_outside_more(
    learned: tuple[Path, str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(*learned)
    service = load_service(ServingEnvironment.read(), REGISTRY)
    monkeypatch.setattr(service._ranker, "score", lambda vectors: 1 / 0)
    with served(create_app(service)) as client:
        answer = client.post("/invocations", json=request(3))
    assert answer.status_code == 500
    assert "division" not in answer.text


def test_the_fixed_slot_ranker_needs_no_store(
    fixed_slots: tuple[Path, str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment(*fixed_slots):
        if name not in ("SAGEMAKER_BASE_DIR", "ADRANK_PACKAGE_DIGEST"):
            monkeypatch.delenv(name)
    candidates = [{"ad_id": f"a{slot}", "context": {"slot": slot}} for slot in (3, 1, 2)]
    with served(create_app(load_service(ServingEnvironment.read(), REGISTRY))) as client:
        answer = client.post("/invocations", json=request(candidates=candidates)).json()
    assert [row["ad_id"] for row in answer["ranking"]] == ["a1", "a2", "a3"]
    assert answer["missing"] == answer["stale"] == {}


def test_the_process_serves_a_good_package_and_does_not_start_on_another_digest(
    fixed_slots: tuple[Path, str],
) -> None:
    base, digest = fixed_slots
    port = free_port()
    command = [sys.executable, "-m", "serving.inference.app"]
    variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port)}
    wrong = subprocess.Popen(
        command,
        cwd=INCLUDE,
        env=variables | {"ADRANK_PACKAGE_DIGEST": "0" * 64},
        stderr=subprocess.PIPE,
        text=True,
    )
    right = subprocess.Popen(command, cwd=INCLUDE, env=variables | {"ADRANK_PACKAGE_DIGEST": digest})
    try:
        _, output = wrong.communicate(timeout=60)
        assert wrong.returncode == 1
        assert f"refusing to start: model package at {base / 'model'} has digest {digest}" in output
        give_up = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200
                break
            except httpx.ConnectError:
                assert right.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.02)
    finally:
        right.terminate()
        right.wait(30)


def refusal(caplog: pytest.LogCaptureFixture) -> str:
    assert app.main() == 1
    return caplog.records[-1].getMessage()


def test_a_package_of_another_registry_is_refused_with_the_features_that_differ(
    tmp_path: Path, learned: tuple[Path, str], environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model"
    learned_package(model)
    card = json.loads((model / packages.CARD).read_text())
    card["fingerprint"] = "0" * 64
    card["features"][0] = "shoe_size"
    (model / packages.CARD).write_text(json.dumps(card))
    environment(tmp_path, packages.package_digest(model))
    reason = refusal(caplog)
    assert "shoe_size" in reason
    assert FEATURES[0] in reason


def test_a_feature_that_nobody_can_give_is_refused(
    tmp_path: Path, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    digest = learned_package(tmp_path / "model", features=("ctr_7d", "shoe_size"))
    environment(tmp_path, digest)
    assert "shoe_size" in refusal(caplog)


def test_a_model_that_needs_stores_is_refused_without_them(
    learned: tuple[Path, str],
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment(*learned)
    monkeypatch.delenv("REDIS_HOST")
    assert "REDIS_HOST\n  Field required" in refusal(caplog)


@pytest.mark.parametrize(
    ("name", "value"), [("REDIS_PORT", "x"), ("REDIS_PORT", "1.5"), ("REDIS_TLS", "maybe"), ("REDIS_TIMEOUT_MS", "0")]
)
def test_an_impossible_variable_is_named(
    learned: tuple[Path, str], environment: Environment, name: str, value: str
) -> None:
    variables = environment(*learned)
    with pytest.raises(ValidationError, match=name):
        StoresEnvironment.read(variables | {name: value})
