"""``make demo``: the whole lifecycle once on the embedded stack.

Environment: ``DATA`` (a directory of own logs; else the simulated marketplace), ``APPROVE=ask`` (wait for a person),
``SEED`` (7; 8 is a world in which the candidate is no better). Ends with build/demo/report.html and
build/demo/summary.json and leaves the stack running. The exit code is 0 for every honest verdict.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from demo.plan import environment
from demo.progress import Progress
from demo.record import DemoRecord
from demo.report import html
from demo.sources import HistorySource, OwnHistory, SimulatedHistory
from demo.stages import Demo, Options
from demo.summary import summary
from ingestion.log_file import OwnLogsError
from stack import lifecycle
from stack.__main__ import addresses
from stack.leftovers import LeftoverError
from stack.settings import ROOT, StackSettings
from stack.watcher import SupervisorError

HOME: Final = ROOT / "build" / "demo"
#: Where the demo's stack keeps its files; what ``make down`` has to stop.
STACK_HOME: Final = HOME / "stack"


class WrongOptionError(ValueError):
    """A variable has a value that means nothing."""


class DemoRunsError(RuntimeError):
    """Another demo is at work on the same files."""


def main(variables: Mapping[str, str] = os.environ) -> int:
    """Run the demo; returns the exit code."""
    try:
        source, ask = _source(variables), _ask(variables)
    except (OwnLogsError, WrongOptionError) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        with _alone():
            return _run(source, ask)
    except (DemoRunsError, SupervisorError, LeftoverError) as error:
        print(error, file=sys.stderr)
        return 1


def demo_stack(extra: Mapping[str, str] | None = None) -> StackSettings:
    """The demo's own stack: ports as set for any stack, files of its own, ``extra`` settings."""
    given = StackSettings()
    return given.model_copy(
        update={"home": STACK_HOME, "extra_environment": {**(extra or {}), **given.extra_environment}}
    )


def _run(source: HistorySource, ask: bool) -> int:
    progress = Progress()
    stack = demo_stack(environment(source.plan(), datetime.now(UTC)))
    lifecycle.stop(stack, lambda line: progress.say("stack", line))
    lifecycle.discard(stack)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    demo = Demo(Options(home=HOME, stack=stack, ask=ask), source, progress)
    failure = ""
    try:
        demo.run()
    except KeyboardInterrupt:
        failure = "interrupted"
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    where = addresses(stack) if lifecycle.status(stack) else ""
    record = demo.record(failure, where)
    _write(record)
    print(_last_words(record))
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


def _write(record: DemoRecord) -> None:
    (HOME / "record.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")
    (HOME / "summary.json").write_text(json.dumps(summary(record), indent=2) + "\n", encoding="utf-8")
    (HOME / "report.html").write_text(html(record), encoding="utf-8")


def _last_words(record: DemoRecord) -> str:
    minutes = (record.ended - record.began).total_seconds() / 60
    lines = ["", f"{'FAILED' if record.failure else 'Done'} in {minutes:.1f} minutes."]
    lines += [f"  {stage.name:<17} {stage.state:<8} {stage.seconds:7.1f} s" for stage in record.stages]
    lines += [f"Report:  {HOME / 'report.html'}", f"Summary: {HOME / 'summary.json'}"]
    return "\n".join([*lines, record.addresses])


def _source(variables: Mapping[str, str]) -> HistorySource:
    """Whatever is wrong with the user's logs is found here, before anything is touched."""
    spelled = variables.get("SEED") or "7"
    if not spelled.isdigit():
        raise WrongOptionError(f"SEED={spelled}: expected a whole number, 0 or more")
    if data := variables.get("DATA"):
        return OwnHistory.of(Path(data), int(spelled))
    return SimulatedHistory.of(int(spelled), datetime.now(UTC))


def _ask(variables: Mapping[str, str]) -> bool:
    spelled = variables.get("APPROVE") or "auto"
    if spelled not in ("auto", "ask"):
        raise WrongOptionError(f"APPROVE={spelled}: expected auto or ask")
    return spelled == "ask"


@contextmanager
def _alone() -> Iterator[None]:
    """One demo at a time on one checkout. The lock goes with the process, however it ends."""
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoRunsError(f"another demo is running in {HOME}; wait for it, or interrupt it") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
