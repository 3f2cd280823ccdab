"""What may be posted, and that a refusal names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.inference.requests import GoldenRequest, InvalidRequestError, ProbeRequest, RankRequest, parse


def rank(**changes: Any) -> dict[str, Any]:
    candidates = [{"ad_id": "a", "seller_id": "s", "context": {"query_match": 1, "slot": None}}]
    body = {"search_id": "q", "user_id": "u", "event_time": "2026-03-02T12:00:00+00:00", "candidates": candidates}
    return body | changes


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (rank(), RankRequest),
        (rank(event_time="2026-03-02T12:00:00Z"), RankRequest),
        (rank(event_time=None), RankRequest),
        (rank(candidates=[{"ad_id": "a", "seller_id": None}] * 1000), RankRequest),
        (rank(candidates=[{"ad_id": "a", "category": "c"}, {"ad_id": "b", "category": None}]), RankRequest),
        ({"vectors": [[1, 2.5, None]]}, GoldenRequest),
        ({"probe": True}, ProbeRequest),
    ],
)
def test_a_good_request_is_read(body: Any, kind: type) -> None:
    assert isinstance(parse(json.dumps(body).encode()), kind)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (rank(candidates=[]), "candidates:"),
        (rank(candidates=[{"ad_id": "a"}] * 1001), "candidates: List should have at most 1000 items"),
        (rank(candidates=[{"seller_id": "s"}]), "candidates[0].ad_id: Field required"),
        (rank(candidates=[{"ad_id": "a"}, {"ad_id": 7}]), "candidates[1].ad_id: Input should be a valid string"),
        (rank(candidates=[{"ad_id": ""}]), "candidates[0].ad_id:"),
        (rank(candidates=[{"ad_id": "a", "category": ""}]), "candidates[0].category:"),
        (rank(candidates=[{"ad_id": "a", "context": {"x": "1"}}]), "candidates[0].context.x: Input should be"),
        (rank(candidates=[{"ad_id": "a", "price": 1}]), "candidates[0].price: Extra inputs"),
        (rank(event_time="2026-03-02T12:00:00"), "event_time: Input should have timezone info"),
        (rank(event_time="noon"), "event_time:"),
        (rank(user_id=None), "user_id:"),
        ({"search_id": "q"}, "user_id: Field required (and 1 more)"),
        ({"vectors": []}, "vectors:"),
        ({"vectors": [["x"]]}, "vectors[0][0]:"),
        ({"probe": False}, "probe:"),
        ([], "request body:"),
        ("[[", "request body: Invalid JSON"),
        ('{"vectors": [[NaN]]}', "vectors[0][0]: Input should be a finite number"),
    ],
)
def test_a_bad_request_is_told_which_field_is_wrong(body: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse((body if isinstance(body, str) else json.dumps(body)).encode())
    assert message in str(refused.value)
