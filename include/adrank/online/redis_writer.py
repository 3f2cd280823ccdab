"""Writes packed rows to Redis, some hundred in one script call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, Self, TypeVar

from adrank.contracts.online_layout import REDIS_STATE_KEY, redis_key
from adrank.contracts.registry import FeatureGroup
from adrank.online.packer import Packer, keys
from adrank.online.push_state import FencingToken, PushFencedError, StateLostError, StoreState
from adrank.online.redis_pipeline import Call, ScriptPipeline
from adrank.runtime.retry import RetryUntil

# Redis serves nobody else while a script runs: so many rows take about two milliseconds.
_BATCH: Final = 500
_TIMEOUT_SECONDS: Final = 30

# KEYS: the state, then rows. ARGV: token, seconds to live, as-of time, bytes of a row, the rows one after the other.
# A row's bytes 9-16 are its as-of time. A row as old as the one that is there is written again, not refused.
_NEWER_WINS: Final = """
local stored = redis.call('MGET', unpack(KEYS))
if not stored[1] then return 'LOST' end
if cjson.decode(stored[1]).token ~= ARGV[1] then return 'TAKEN' end
local as_of, size, written = tonumber(ARGV[3]), tonumber(ARGV[4]), 0
for i = 2, #KEYS do
  local row = stored[i]
  if not row or #row < 16 or struct.unpack('>i8', row, 9) <= as_of then
    redis.call('SETEX', KEYS[i], ARGV[2], string.sub(ARGV[5], (i - 2) * size + 1, (i - 1) * size))
    written = written + 1
  end
end
return written
"""

# KEYS: the state. ARGV: the token that must be there or nothing, the new state, the process that must be serving.
_SWAP: Final = """
local instance = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('GET', KEYS[1])
if (state and cjson.decode(state).token or '') ~= ARGV[1] or instance ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_Answer = TypeVar("_Answer")


class EvictingRedisError(RuntimeError):
    """Redis drops rows by itself when its memory is full: what it says of its rows would not be true."""


class RedisWriter:
    """Packed values under ``f:<group>:<entity>``, and the state of the pushes under a key of its own."""

    def __init__(self, client: Any, retry: RetryUntil) -> None:
        self._client = client
        self._retry = retry
        self._newer_wins = client.register_script(_NEWER_WINS)
        self._swap = client.register_script(_SWAP)
        self._calls = ScriptPipeline(client, self._newer_wins, self._call)

    @classmethod
    def connect(cls, host: str, port: int, tls: bool, retry: RetryUntil) -> Self:
        """A writer on one Redis."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Retries are ours: redis-py's own know no limit in time.
        once = Retry(NoBackoff(), 0)
        client = redis.Redis(host=host, port=port, ssl=tls, socket_timeout=_TIMEOUT_SECONDS, retry=once)
        return cls(client, retry)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def state(self) -> StoreState | None:
        """What Redis says of its rows; None: nothing."""
        text = self._with_retries(lambda: self._client.get(REDIS_STATE_KEY))
        return None if text is None else StoreState.model_validate_json(text)

    def require_no_eviction(self) -> None:
        """Refuse a Redis that, when full, drops rows rather than refuse new ones."""
        memory = self._with_retries(lambda: self._client.info("memory"))
        limit, policy = memory["maxmemory"], memory["maxmemory_policy"]
        if limit and policy != "noeviction":
            raise EvictingRedisError(
                f"Redis has maxmemory-policy {policy} and maxmemory {limit}: when full it drops feature rows unseen, "
                "and later pushes write only what changed; set maxmemory-policy to noeviction (managed: in its "
                "parameter group), then push with --full if rows may be gone"
            )

    def instance(self) -> str:
        """The run id of the server process."""
        return str(self._with_retries(lambda: self._client.info("server"))["run_id"])

    def swap(self, old: StoreState | None, new: StoreState) -> bool:
        """Replace the state, if it still is ``old`` and the server is the process that ``new`` names."""
        values = ["" if old is None else old.token, new.model_dump_json(), new.instance]

        def swapped() -> bool:
            done = bool(self._swap(keys=[REDIS_STATE_KEY], args=values))
            # An attempt whose answer was lost may have been the one that did it.
            return done or self.state() == new

        return self._with_retries(swapped)

    def write(self, fencing_token: FencingToken, group: FeatureGroup, as_of: datetime, rows: Any) -> int:
        """Write an Arrow batch of rows; returns how many did not lose to a newer one."""
        return sum(map(_rows_written, self._calls.answers(_batches(fencing_token, group, as_of, rows))))

    def _call(self, call: Call) -> Any:
        return self._with_retries(lambda: self._newer_wins(keys=call.keys, args=call.args))

    def _with_retries(self, call: Callable[[], _Answer]) -> _Answer:
        return self._retry.call(call, _is_transient, "Redis")


def _batches(fencing_token: FencingToken, group: FeatureGroup, as_of: datetime, rows: Any) -> Iterator[Call]:
    packer = Packer(group, as_of)
    prefix, seconds, moment = redis_key(group, ""), group.ttl_hours * 3600, int(as_of.timestamp())
    for start in range(0, rows.num_rows, _BATCH):
        batch = rows.slice(start, _BATCH)
        names = [REDIS_STATE_KEY, *keys(prefix, batch)]
        yield Call(names, [fencing_token.token, seconds, moment, packer.size, packer.pack(batch)])


def _rows_written(answer: Any) -> int:
    if answer == b"LOST":
        raise StateLostError("Redis lost the state of the push, and what was written before")
    if answer == b"TAKEN":
        raise PushFencedError("another push to Redis began")
    return int(answer)


def _is_transient(error: BaseException) -> bool:
    """Full, starting, failing over or not reachable; not: asked the wrong thing, or not allowed."""
    from redis import exceptions

    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return False
    transient = (
        exceptions.OutOfMemoryError,
        exceptions.BusyLoadingError,
        exceptions.ReadOnlyError,
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        OSError,
    )
    return isinstance(error, transient)
