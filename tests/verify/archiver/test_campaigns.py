"""Long campaigns: kills, a store that refuses, a broker that dies; at the end the account must come out even."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.child_process import eventually
from tests.support.kafka_broker import Broker, StoreProcess
from tests.verify.archiver.campaign import PARTITIONS, Campaign

pytestmark = pytest.mark.verify

KILLS = 10
SEED = 20


def even(account: dict[str, int], seen: pytest.CaptureFixture[str]) -> None:
    with seen.disabled():
        print("\n" + ", ".join(f"{name} {value:,}" for name, value in account.items()))
    assert account["distinct"] > 0
    assert account["produced_twice"] >= 0, "Kafka lost what it had acknowledged"
    assert (account["lost"], account["made_up"], account["doubled"]) == (0, 0, 0)
    assert (account["poison_lost"], account["poison_not_in_topic"]) == (0, 0)


@pytest.mark.timeout(600)
def test_an_archiver_killed_ten_times_in_a_minute_loses_and_doubles_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 60.0
    store, broker = StoreProcess(tmp_path), Broker(tmp_path)
    store.start()
    broker.start()
    with ExitStack() as ends:
        ends.callback(store.kill)
        ends.callback(broker.kill)
        campaign = Campaign(tmp_path, broker, store, SEED)
        ends.callback(campaign.end)
        dice = random.Random(SEED)
        moments = [3 + dice.random() * (seconds - 5) for _ in range(KILLS)]
        campaign.run(seconds, [(moment, campaign.archiver.kill) for moment in moments])
        campaign.finish(seconds)
        assert campaign.archiver.stop() == 0
        assert len(campaign.archiver.exit_codes) >= KILLS
        account = campaign.account()
    even(account, capsys)
    assert account["produced_twice"] == 0
    assert account["poison"] > 100


@pytest.mark.timeout(600)
def test_a_store_that_refuses_for_half_a_minute_and_a_killed_broker_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 75.0
    (tmp_path / "log").mkdir()
    log_store = StoreProcess(tmp_path / "log", bucket="broker", sole_writer=True)
    store, broker = StoreProcess(tmp_path), Broker(tmp_path, storage=log_store)
    lags: list[float] = []

    def restart_broker() -> None:
        broker.kill()
        time.sleep(2)
        broker.start()

    with ExitStack() as ends:
        for process in (log_store, store, broker):
            process.start()
            ends.callback(process.kill)
        campaign = Campaign(tmp_path, broker, store, SEED, log_store)
        ends.callback(campaign.end)
        campaign.run(
            seconds,
            [
                (10, lambda: store.refuse_writes(30)),
                (35, lambda: lags.append(campaign.lag())),
                (55, restart_broker),
            ],
        )
        campaign.finish(seconds)
        assert eventually(campaign.lag, lambda lag: lag == 0) == 0
        assert campaign.archiver.stop() == 0
        account = campaign.account()
    even(account, capsys)
    with capsys.disabled():
        print(f"lag while the store refused {lags[0]:,.0f}, at the end 0")
    assert lags[0] > 10_000
    assert account["archivers_died"] == 0


@pytest.mark.timeout(600)
def test_archiver_and_broker_killed_while_the_log_is_trimmed_lose_and_double_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 75.0
    (tmp_path / "log").mkdir()
    log_store = StoreProcess(tmp_path / "log", bucket="broker", sole_writer=True)
    store, broker = StoreProcess(tmp_path), Broker(tmp_path, storage=log_store)

    def restart_broker() -> None:
        broker.kill()
        broker.start()

    with ExitStack() as ends:
        for process in (log_store, store, broker):
            process.start()
            ends.callback(process.kill)
        campaign = Campaign(tmp_path, broker, store, SEED, log_store)
        ends.callback(campaign.end)
        campaign.run(
            seconds,
            [
                *((moment, campaign.archiver.kill) for moment in (8, 21, 34, 47, 60)),
                *((moment, restart_broker) for moment in (14, 28, 40)),
            ],
        )
        campaign.finish(seconds)
        assert campaign.archiver.stop() == 0
        account = campaign.account()
        left = sum(len(campaign.broker_log.base_offsets(partition)) for partition in range(PARTITIONS))
    even(account, capsys)
    assert account["batches_deleted"] > 10 * left
