"""Calls one Redis script many times, the next call on its way while the server works on the last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

_AHEAD: Final = 2


class Call(NamedTuple):
    """Keys and arguments of one call."""

    keys: Sequence[Any]
    args: Sequence[Any]


class ScriptPipeline:
    """``script`` is a registered script; ``with_retries`` makes one call by itself, for as long as it takes.

    Whatever fails is called again so: a script must not mind being called twice.
    """

    def __init__(self, client: Any, script: Any, with_retries: Callable[[Call], Any]) -> None:
        self._pool = client.connection_pool
        self._sha = script.sha
        self._with_retries = with_retries

    def answers(self, calls: Iterable[Call]) -> Iterator[Any]:
        """The answer of each call, in order."""
        pending, waiting = iter(calls), deque[Call]()
        while True:
            try:
                with self._connection() as connection:
                    for call in pending:
                        waiting.append(call)
                        connection.send_command("EVALSHA", self._sha, len(call.keys), *call.keys, *call.args)
                        if len(waiting) == _AHEAD:
                            yield self._answer(connection, waiting)
                    while waiting:
                        yield self._answer(connection, waiting)
                    return
            except (RedisError, OSError):
                waiting.extend(islice(pending, 0 if waiting else 1))
                if not waiting:
                    return
            while waiting:
                yield self._with_retries(waiting.popleft())

    @staticmethod
    def _answer(connection: Any, waiting: deque[Call]) -> Any:
        answer = connection.read_response()
        waiting.popleft()
        return answer

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """One of the pool's; answers that nobody waits for any more are dropped with it."""
        connection = self._pool.get_connection()
        try:
            yield connection
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)
