"""The broker's log stays with its stack when the stack is of a newer version."""

from __future__ import annotations

from pathlib import Path

from stack import paths
from stack.servers import kafka
from stack.settings import StackSettings


def batch(root: Path, body: bytes) -> Path:
    """The first batch of a log below the directory of an object store."""
    path = root / kafka.BUCKET / "clusters/records/0.batch"
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    return path


def test_a_log_in_the_lakes_store_moves_to_the_brokers_own(stack: StackSettings) -> None:
    old = batch(paths.lake(stack), b"old")
    paths.broker(stack).mkdir()
    kafka.adopt_log(stack)
    kafka.adopt_log(stack)
    assert not old.exists()
    assert (paths.broker(stack) / old.relative_to(paths.lake(stack))).read_bytes() == b"old"


def test_a_log_that_is_there_already_stays_as_it_is(stack: StackSettings) -> None:
    batch(paths.lake(stack), b"old")
    new = batch(paths.broker(stack), b"new")
    kafka.adopt_log(stack)
    assert new.read_bytes() == b"new"
