"""``make demo``: the whole lifecycle once on the embedded stack.

Environment: ``DATA`` (a directory of own logs; else the simulated marketplace), ``APPROVE=ask`` (wait for a person),
``SEED`` (7; 8 is a world in which the candidate is no better), ``STALL_SECONDS`` (300: a stage in which nothing has
moved for so long has failed; how long it takes as a whole does not matter). Ends with build/demo/report.html and
build/demo/summary.json and leaves the stack running. The exit code is 0 for every honest verdict.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from demo.plan import environment
from demo.report.ending import Ending, ending_of
from demo.report.record import DemoRecord
from demo.report.report import html
from demo.report.summary import summary
from demo.runs.progress import Progress
from demo.sources import HistorySource, OwnHistory, SimulatedHistory
from demo.stages import STALL_SECONDS, Demo, Options
from ingestion.own_logs.files import OwnLogsError
from stack import lifecycle
from stack.__main__ import addresses
from stack.settings import ROOT, StackSettings
from stack.supervisor.client import SupervisorClient, SupervisorError
from stack.supervisor.orphans import OrphanProcessError

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
        source, ask, stall_seconds = _source(variables), _ask(variables), _stall_seconds(variables)
    except (OwnLogsError, WrongOptionError) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        with alone():
            return run(source, ask, stall_seconds)
    except (DemoRunsError, SupervisorError, OrphanProcessError) as error:
        print(error, file=sys.stderr)
        return 1


def demo_stack(extra: Mapping[str, str] | None = None) -> StackSettings:
    """The demo's own stack: ports as set for any stack, files of its own, ``extra`` settings."""
    stack = StackSettings()
    return stack.model_copy(
        update={"home": STACK_HOME, "extra_environment": {**(extra or {}), **stack.extra_environment}}
    )


def run(source: HistorySource, ask: bool, stall_seconds: float) -> int:
    """Live through it and tell how it ended; returns the exit code."""
    progress = Progress()
    settings = environment(source.plan(), datetime.now(UTC))
    stack = demo_stack(settings).model_copy(update={"start_timeout": stall_seconds})
    demo = Demo(Options(HOME, stack, ask, stall_seconds), source, progress)
    ending = None
    try:
        if lifecycle.stop(stack, lambda line: progress.say("stack", line)):
            progress.say("stack", "the stack of an earlier demo is down")
        lifecycle.discard(stack)
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(parents=True)
        demo.run()
    except (Exception, KeyboardInterrupt) as error:
        ending = ending_of(error, progress.current, stack)
    try:
        record = demo.record(
            ending.line if ending else "", "" if SupervisorClient(stack).is_stopped() else addresses(stack)
        )
        _write(record)
        print(_closing_message(record, ending), flush=True)
    except KeyboardInterrupt as interrupt:
        ending = ending or ending_of(interrupt, "record", stack)
    # Nothing is left to be interrupted; a traceback would be the last word.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if ending is None:
        return 0
    print(ending.line, file=sys.stderr)
    return ending.code


def _write(record: DemoRecord) -> None:
    (HOME / "record.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")
    (HOME / "summary.json").write_text(json.dumps(summary(record), indent=2) + "\n", encoding="utf-8")
    (HOME / "report.html").write_text(html(record), encoding="utf-8")


def _closing_message(record: DemoRecord, ending: Ending | None) -> str:
    minutes = (record.ended - record.began).total_seconds() / 60
    result = "Done in" if ending is None else "FAILED after" if ending.is_failure else "Stopped after"
    lines = ["", f"{result} {minutes:.1f} minutes."]
    lines += [
        f"  {stage.name:<17} {stage.state:<8} {stage.seconds:7.1f} s {stage.cpu_seconds:7.1f} CPU s"
        for stage in record.stages
    ]
    lines += [f"Report:  {HOME / 'report.html'}", f"Summary: {HOME / 'summary.json'}"]
    return "\n".join([*lines, *record.addresses.splitlines()])


def _source(variables: Mapping[str, str]) -> HistorySource:
    """Whatever is wrong with the user's logs is found here, before anything is touched."""
    text = variables.get("SEED") or "7"
    if not text.isdigit():
        raise WrongOptionError(f"SEED={text}: expected a whole number, 0 or more")
    if data := variables.get("DATA"):
        return OwnHistory.of(Path(data), int(text))
    return SimulatedHistory.of(int(text), datetime.now(UTC))


def _ask(variables: Mapping[str, str]) -> bool:
    text = variables.get("APPROVE") or "auto"
    if text not in ("auto", "ask"):
        raise WrongOptionError(f"APPROVE={text}: expected auto or ask")
    return text == "ask"


def _stall_seconds(variables: Mapping[str, str]) -> float:
    text = variables.get("STALL_SECONDS") or f"{STALL_SECONDS}"
    if not text.isdigit() or int(text) < 1:
        raise WrongOptionError(f"STALL_SECONDS={text}: expected a whole number of seconds, 1 or more")
    return float(text)


@contextmanager
def alone() -> Iterator[None]:
    """One demo at a time on one checkout. The lock goes with the process, however it ends."""
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoRunsError(f"another demo is running in {HOME}; wait for it, or interrupt it") from None
        yield
