"""Long campaigns: killed pushes, a Redis that restarts, a DynamoDB that throttles; the stores must equal the lake."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from localcloud.faults.armed import Throttle
from tests.verify.online.campaign import Campaign, DynamoDBCampaign, RedisCampaign

pytestmark = pytest.mark.verify

KILLS = 10
SEED = 40


def even(campaign: Campaign, seen: pytest.CaptureFixture[str], **more: float) -> None:
    """Every key of the lake's newest partition is in the store as it is there, and no other key has values."""
    account = campaign.account()
    with seen.disabled():
        print("\n" + ", ".join(f"{name} {value:,}" for name, value in {**account, **more}.items()))
    assert account.pop("keys") > 0
    assert not any(account.values()), account


@pytest.mark.timeout(1800)
def test_pushes_killed_ten_times_leave_the_store_as_the_lake_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = RedisCampaign(tmp_path, rows=100_000, seed=SEED)
    try:
        campaign.next_hour()
        first = campaign.push()
        campaign.wait_until_writing(first)
        began = time.monotonic()
        first.end()
        longest = time.monotonic() - began
        even(campaign, capsys)
        kills = retried = in_full = 0
        while kills < KILLS:
            campaign.next_hour()
            if not campaign.kill_in_mid_push(longest):
                continue
            kills += 1
            then = campaign.dice.choice(["retry", "correct", "leave"])
            if then == "leave":
                continue
            if then == "correct":
                campaign.correct_hour()
            campaign.push().end()
            retried += 1
            in_full += campaign.manifest().base is None
            even(campaign, capsys, kills=kills)
        campaign.next_hour()
        campaign.push().end()
        even(campaign, capsys, kills=kills, ended=retried + 1, of_which_in_full=in_full)

        state, rows = campaign.state(), campaign.redis.client.dbsize()
        campaign.push(campaign.hour - 1).end()
        assert campaign.manifest(campaign.hour - 1).superseded_by is not None
        assert (campaign.state(), campaign.redis.client.dbsize()) == (state, rows)
        even(campaign, capsys, after_an_older_hour=1)
    finally:
        campaign.redis.kill()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kept", ["nothing", "what it had before the push", "what it had in mid-push"])
def test_a_redis_that_restarts_in_mid_push_holds_everything_when_the_push_ends(
    kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = RedisCampaign(tmp_path, rows=100_000, seed=SEED + len(kept))
    try:
        campaign.next_hour()
        campaign.push().end()
        if kept == "what it had before the push":
            campaign.redis.client.save()
        campaign.next_hour()
        pushing = campaign.push()
        campaign.wait_until_writing(pushing)
        time.sleep(campaign.dice.uniform(0.2, 1))
        if kept == "what it had in mid-push":
            campaign.redis.client.save()
            time.sleep(0.3)
        state = campaign.state()
        assert state is not None
        assert state.begun, "the push had ended already"
        campaign.redis.kill()
        campaign.redis.start()
        pushing.end()
        assert campaign.manifest().base is None, "written again in full"
        even(campaign, capsys, restarts=1)
    finally:
        campaign.redis.kill()


@pytest.mark.timeout(1200)
def test_a_dynamodb_that_throttles_half_the_writes_holds_everything_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = DynamoDBCampaign(tmp_path, rows=4_000, seed=SEED, patch=monkeypatch)
    try:
        campaign.faults.arm("throttle_dynamodb", Throttle(fraction=0.5, seconds=3600))
        campaign.next_hour()
        campaign.push().end()
        even(campaign, capsys)
        kills = 0
        while kills < 2:
            campaign.next_hour()
            kills += campaign.kill_in_mid_push(longest=2)
            campaign.push().end()
            even(campaign, capsys, kills=kills, written=campaign.manifest().written)
        campaign.push(campaign.hour - 1).end()
        even(campaign, capsys, after_an_older_hour=1)
    finally:
        campaign.tables.stop(signal.SIGKILL)
