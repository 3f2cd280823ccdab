"""Scans meet a bounded number of keys, go on where they stopped, and in time meet all."""

from __future__ import annotations

from typing import Any

from redis import Redis

from adrank.contracts import registry
from adrank.online import scan
from tests.support.online_stores import TABLE, OnlineRows, RedisServer

REGISTRY = registry.load()


def test_a_small_redis_is_met_whole_and_what_is_not_ours_is_not(redis_server: RedisServer) -> None:
    client = Redis(port=redis_server.port)
    client.mset({f"f:ad_engagement:a{n}": b"x" for n in range(50)} | {"session:1": b"y"})
    keys, cursor = scan.redis_keys(client, 1000)
    assert sorted(keys) == sorted(f"f:ad_engagement:a{n}" for n in range(50))
    assert cursor == "0"


def test_scans_of_a_large_redis_go_on_until_all_was_met(redis_server: RedisServer) -> None:
    client = Redis(port=redis_server.port)
    client.mset({f"f:ad_engagement:a{n}": b"x" for n in range(6000)})
    met: set[str] = set()
    cursor = ""
    for _ in range(5):
        keys, cursor = scan.redis_keys(client, 1500, cursor)
        assert 1500 <= len(keys) < 4000
        met |= set(keys)
    assert len(met) == 6000


def test_a_scan_that_begins_in_the_middle_goes_round_once(redis_server: RedisServer) -> None:
    client = Redis(port=redis_server.port)
    client.mset({f"f:ad_engagement:a{n}": b"x" for n in range(3000)})
    _, cursor = scan.redis_keys(client, 1000)
    assert cursor != "0"
    keys, _ = scan.redis_keys(client, 10**6, cursor)
    assert len(keys) == 3000


def test_a_table_is_met_from_the_key_on_where_the_last_scan_stopped(
    dynamodb: Any, rows: OnlineRows, monkeypatch: Any
) -> None:
    monkeypatch.setattr(scan, "_COUNT", 4)
    for n in range(10):
        rows.put("seller_stats", f"s{n}", (1, 2, 3))
    first, cursor = scan.dynamodb_keys(dynamodb, TABLE, 4)
    assert len(first) == 4
    rest, end = scan.dynamodb_keys(dynamodb, TABLE, 6, cursor)
    assert {*first, *rest} == {f"seller_stats#s{n}" for n in range(10)}
    everything, end = scan.dynamodb_keys(dynamodb, TABLE, 100, cursor)
    assert len(everything) == 10
    assert end == ""


def test_keys_are_told_apart_by_group() -> None:
    keys = ["f:ad_engagement:a:1", "f:ad_attributes:a1", "f:retired_group:a1", "seller_stats#s#1"]
    assert scan.by_group(keys, REGISTRY.groups) == {
        "ad_engagement": ["a:1"],
        "ad_attributes": ["a1"],
        "seller_stats": ["s#1"],
    }
