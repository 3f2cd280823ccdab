"""The parts of one Spark application: each says what came of it, and one that fails does not stop those beside it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from adrank.contracts.manifests import PartOutcome, PartState

#: Does the part and says in one line what it did.
Work = Callable[[], str]


class PartsFailedError(RuntimeError):
    """Some parts failed; the message names each with its reason."""


class Parts:
    """``publish`` is called with all outcomes so far, in the order in which they came, whenever a part has ended."""

    def __init__(self, publish: Callable[[tuple[PartOutcome, ...]], None] = lambda _: None) -> None:
        self._publish = publish
        self._outcomes: list[PartOutcome] = []
        self._one_at_a_time = threading.Lock()

    def run(self, works: Mapping[str, Work]) -> bool:
        """Do all of ``works`` side by side, by the parts' names; returns whether none failed."""
        with ThreadPoolExecutor(len(works)) as threads:
            return all(list(threads.map(self._run, works, works.values())))

    def skip(self, *names: str, why: str) -> None:
        """Say that these parts were not begun."""
        for name in names:
            self._end(name, "skipped", 0, why)

    def require_success(self) -> None:
        """Raise :class:`PartsFailedError` if any part failed."""
        failed = [f"{outcome.name}: {outcome.detail}" for outcome in self._outcomes if outcome.state == "failed"]
        if failed:
            raise PartsFailedError("; ".join(failed))

    def _run(self, name: str, work: Work) -> bool:
        began = time.monotonic()
        try:
            detail = work()
        except Exception as error:
            traceback.print_exc()
            self._end(name, "failed", time.monotonic() - began, f"{type(error).__name__}: {error}")
            return False
        self._end(name, "success", time.monotonic() - began, detail)
        return True

    def _end(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        with self._one_at_a_time:
            self._outcomes.append(PartOutcome(name=name, state=state, seconds=round(seconds, 3), detail=detail))
            print(f"{name}: {state} in {seconds:.1f} s: {detail}", flush=True)
            self._publish(tuple(self._outcomes))
