"""Meets keys of the online stores, going on where an earlier scan stopped: a bounded number, and in time all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from adrank.contracts.registry import FeatureGroup

#: How many keys Redis looks at in one call: some milliseconds during which it answers nobody else.
_COUNT: Final = 1000
_START: Final = "0"


def redis_keys(client: Any, limit: int, cursor: str = "") -> tuple[list[str], str]:
    """At least ``limit`` of the keys of feature rows, or all of them; and where the next scan goes on."""
    position, laps = int(cursor or _START), 1 if cursor in ("", _START) else 2
    found: dict[str, None] = {}
    while laps and len(found) < limit:
        position, keys = client.scan(cursor=position, match="f:*", count=_COUNT)
        found.update(dict.fromkeys(key.decode() for key in keys))
        laps -= position == 0
    return list(found), str(position)


def dynamodb_keys(client: Any, table: str, limit: int, cursor: str = "") -> tuple[list[str], str]:
    """At least ``limit`` of the table's keys, or all of them; and where the next scan goes on."""
    position, laps = cursor, 2 if cursor else 1
    found: dict[str, None] = {}
    while laps and len(found) < limit:
        start = {"ExclusiveStartKey": {"entity_id": {"S": position}}} if position else {}
        response = client.scan(TableName=table, ProjectionExpression="entity_id", Limit=_COUNT, **start)
        found.update(dict.fromkeys(item["entity_id"]["S"] for item in response["Items"]))
        position = response.get("LastEvaluatedKey", {}).get("entity_id", {}).get("S", "")
        laps -= not position
    return list(found), position


def by_group(keys: Iterable[str], groups: Iterable[FeatureGroup]) -> dict[str, list[str]]:
    """Entity ids by group; keys of other groups, which nothing reads any more, are left out."""
    separators = {"redis": ":", "dynamodb": "#"}
    marks = {(f"f:{g.name}" if g.store == "redis" else g.name) + separators[g.store]: g.name for g in groups}
    found: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        for mark, name in marks.items():
            if key.startswith(mark):
                found[name].append(key.removeprefix(mark))
    return found
