"""Of all who want to write a group's day, one does; a dead one holds nobody up, and a late one notices."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adrank.contracts import lake, timestamps
from adrank.contracts.timestamps import HOUR
from adrank.storage import leases
from adrank.storage.leases import LeaseHeldError, LeaseLostError, LeaseRecord
from tests.local.localcloud.cloud import Cloud

pytestmark = pytest.mark.stack
DAY = datetime(2026, 3, 1, tzinfo=UTC)
SHORT = timedelta(seconds=0.5)
NO_WAIT = timedelta(0)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("leases"))
    made.path("").mkdir(parents=True)
    made.start("object_store")
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def store(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where to ask: the bucket, and a group of the test's own."""
    monkeypatch.setattr(leases, "_POLL_INTERVAL", timedelta(seconds=0.02))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{cloud.config.s3_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", cloud.config.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", cloud.config.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", cloud.config.region)
    return {"bucket": cloud.bucket, "group": request.node.name}


def record(cloud: Cloud, store: dict[str, Any], day: datetime = DAY) -> LeaseRecord:
    return LeaseRecord.model_validate_json(cloud.path(lake.lease(store["group"], day)).read_text())


def test_the_second_waits_until_the_first_is_done(store: dict[str, Any]) -> None:
    order: list[str] = []
    polled = threading.Event()

    def second() -> None:
        polled.set()
        with leases.hold(**store, days=[DAY], owner="second"):
            order.append("second")

    with leases.hold(**store, days=[DAY], owner="first"):
        other = threading.Thread(target=second)
        other.start()
        polled.wait()
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_who_waits_too_long_is_told_who_holds_what_until_when(store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY], owner="hourly run-7"):
        with pytest.raises(LeaseHeldError) as refused, leases.hold(**store, days=[DAY], owner="b", wait=NO_WAIT):
            pytest.fail("was let in")
    message = str(refused.value)
    for part in (store["group"], "2026-03-01", "hourly run-7", f"until {datetime.now(UTC):%Y-%m-%dT%H}"):
        assert part in message


def test_another_day_and_another_group_are_free(store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY], owner="a"):
        with leases.hold(**store, days=[DAY + timestamps.DAY], owner="b", wait=NO_WAIT):
            pass
        with leases.hold(bucket=store["bucket"], group="another", days=[DAY], owner="b", wait=NO_WAIT):
            pass


def test_of_many_at_once_one_holds_at_a_time_and_all_get_their_turn(store: dict[str, Any]) -> None:
    inside, most, turns = 0, 0, []

    def ask(number: int) -> None:
        nonlocal inside, most
        with leases.hold(**store, days=[DAY], owner=f"owner-{number}") as lease:
            inside += 1
            most = max(most, inside)
            turns.append(number)
            lease.require_held()
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert most == 1
    assert sorted(turns) == list(range(8))


def test_days_are_taken_in_order_so_that_two_ranges_never_wait_for_each_other(store: dict[str, Any]) -> None:
    days = [DAY + n * timestamps.DAY for n in range(4)]

    def ask(order: list[datetime]) -> None:
        for _ in range(3):
            with leases.hold(**store, days=order, owner=None, wait=timedelta(seconds=30)):
                pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, [days, days[::-1]]))


def test_hours_of_one_day_are_one_lease(cloud: Cloud, store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY, DAY + 5 * HOUR], owner="a"):
        assert record(cloud, store).day == DAY
        assert not record(cloud, store).released
    assert record(cloud, store).released


def test_a_killed_holder_is_waited_for_no_longer_than_its_lease_lives(store: dict[str, Any]) -> None:
    program = (
        "import sys, time, datetime; from adrank.storage import leases\n"
        f"with leases.hold(bucket={store['bucket']!r}, group={store['group']!r}, owner='dead',\n"
        f"    days=[datetime.datetime.fromisoformat('{DAY.isoformat()}')], ttl=datetime.timedelta(seconds=0.5)):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path.cwd()) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with pytest.raises(LeaseHeldError, match="dead"), leases.hold(**store, days=[DAY], owner="b", wait=NO_WAIT):
        pytest.fail("was let in")
    with leases.hold(**store, days=[DAY], owner="b", wait=timedelta(seconds=10)) as lease:
        lease.require_held()


def test_a_living_holder_keeps_its_lease_however_short_it_lives(store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY], owner="a", ttl=SHORT) as lease:
        with pytest.raises(LeaseHeldError), leases.hold(**store, days=[DAY], owner="b", wait=timedelta(seconds=2.5)):
            pytest.fail("was let in")
        lease.require_held()


def test_who_was_taken_over_notices_before_publishing_and_leaves_the_lease(cloud: Cloud, store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY], owner="step") as former:
        with leases.hold(**store, days=[DAY], owner="step", wait=NO_WAIT) as present:
            with pytest.raises(LeaseLostError, match="is step's now"):
                former.require_held()
            with pytest.raises(LeaseLostError):
                former.require_held()
            present.require_held()
            holder = record(cloud, store).holder
            former.release()
            assert (record(cloud, store).holder, record(cloud, store).released) == (holder, False)


def test_a_retry_of_the_same_owner_does_not_wait_but_nobodys_retry_does(store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY], owner="step"):
        with leases.hold(**store, days=[DAY], owner="step", wait=NO_WAIT):
            pass
    with leases.hold(**store, days=[DAY], owner=None):
        with pytest.raises(LeaseHeldError), leases.hold(**store, days=[DAY], owner=None, wait=NO_WAIT):
            pytest.fail("was let in")


def test_an_error_in_the_block_gives_the_lease_back(store: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="broken"), leases.hold(**store, days=[DAY], owner="a"):
        raise RuntimeError("broken")
    with leases.hold(**store, days=[DAY], owner="b", wait=NO_WAIT):
        pass


def test_who_does_not_get_every_day_gives_back_those_that_it_got(store: dict[str, Any]) -> None:
    with leases.hold(**store, days=[DAY + timestamps.DAY], owner="a"):
        with (
            pytest.raises(LeaseHeldError),
            leases.hold(**store, days=[DAY, DAY + timestamps.DAY], owner="b", wait=NO_WAIT),
        ):
            pytest.fail("was let in")
        with leases.hold(**store, days=[DAY], owner="c", wait=NO_WAIT):
            pass
