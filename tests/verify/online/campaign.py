"""Hours of features, real push processes that may be killed, and the account of what the stores hold in the end."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import RedisError

from adrank.contracts import lake, registry
from adrank.contracts.manifests import PushManifest
from adrank.contracts.online_layout import dynamodb_key, redis_key
from adrank.contracts.registry import FeatureGroup, Store
from adrank.contracts.timestamps import HOUR
from adrank.online.push_state import StoreState
from adrank.online.vectors import GroupDecoder
from adrank.online.writer import DynamoDBAddress, RedisAddress, StoreAddress
from adrank.runtime.retry import RetryUntil
from localcloud.emr.spark_submit import configuration
from localcloud.faults.armed import Faults
from localcloud.settings import LocalcloudSettings
from tests.support.child_process import eventually
from tests.support.feature_lake import FeatureLake, Numbers
from tests.support.ports import free_port
from tests.support.table_server import TableServer

INCLUDE = Path(__file__).resolve().parents[3] / "include"
START = datetime(2026, 5, 4, tzinfo=UTC)
CHANGED, GONE, BORN = 0.3, 0.01, 0.01
POLL = 0.003


class RedisProcess:
    """A redis-server that may be killed, and comes back with what it saved last."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis(port=self.port, socket_timeout=30)
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is a system part that set-up installs"
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        self._process = subprocess.Popen([program, *where, "--save", ""], stdout=subprocess.DEVNULL)
        eventually(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False


class Pushing:
    """``push_features.py`` as a step runs it."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to driver and JVM. Python workers are in a group of their own: they go on until they notice."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def end(self) -> None:
        code = self._process.wait(300)
        assert code == 0, f"the push ended with {code}:\n{self._log.read_bytes()[self._from :].decode()[-6000:]}"


class Campaign(ABC):
    """Hours with changing rows, pushed to one store."""

    store: Store

    def __init__(self, directory: Path, rows: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self._directory = directory
        self._config = LocalcloudSettings(
            lake_dir=directory / "lake", state_dir=directory / "state", work_dir=directory / "work"
        )
        self._config.make_directories()
        self._bucket = self._config.lake_dir / self._config.bucket
        self._features = FeatureLake(self._bucket)
        self.groups = registry.load().in_store(self.store)
        sizes = {group.name: max(rows // 4**place, 10) for place, group in enumerate(self.groups)}
        self._rows: dict[str, dict[str, float | None]] = {
            name: {f"{name}-{n}": float(n) for n in range(size)} for name, size in sizes.items()
        }
        self._born = 0
        self.hour = -1

    @property
    @abstractmethod
    def address(self) -> StoreAddress:
        """Of the store."""

    @abstractmethod
    def _where(self) -> list[str]:
        """The store on the push's command line."""

    @abstractmethod
    def _held(self, group: FeatureGroup) -> dict[str, bytes]:
        """Every packed row of the group, by entity."""

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
        }

    def next_hour(self) -> None:
        """A later hour: some rows change, some entities vanish, some are new."""
        self.hour += 1
        self._mutate()
        self._features.hour(self._at(self.hour), self._rows)

    def correct_hour(self) -> None:
        """A later revision of the hour."""
        self._mutate()
        revisions = len(list((self._bucket / lake.FEATURES(self.groups[0].name).hour(self._at(self.hour))).iterdir()))
        self._features.hour(self._at(self.hour), self._rows, revisions)

    def push(self, hour: int | None = None) -> Pushing:
        settings = configuration(self._config)
        words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
        when = self._at(self.hour if hour is None else hour).isoformat()
        arguments = ["--bucket", self._config.bucket, "--store", self.store, "--hour", when, *self._where()]
        submit = str(Path(sys.executable).parent / "spark-submit")
        command = [
            submit,
            *words,
            str(INCLUDE / "spark" / "jobs" / "push_features.py"),
            *arguments,
            "--retry-seconds",
            "240",
        ]
        return Pushing(command, self.environment(), self._directory / "push.log")

    def manifest(self, hour: int | None = None) -> PushManifest:
        key = lake.PUSHES(self.store).manifest(self._at(self.hour if hour is None else hour))
        return PushManifest.model_validate_json((self._bucket / key).read_text())

    def state(self) -> StoreState | None:
        writer = self.address.open(RetryUntil.for_seconds(60))
        try:
            return writer.state()
        finally:
            writer.close()

    def wait_until_writing(self, pushing: Pushing) -> None:
        """Until the push has put its name into the store's state."""
        before = self.state()
        while pushing.runs:
            now = self.state()
            if now is not None and now.begun and (before is None or now.token != before.token):
                return
            time.sleep(POLL)

    def kill_in_mid_push(self, longest: float) -> bool:
        """Start a push and kill it at a random moment of its writing; whether it was hit before its end."""
        pushing = self.push()
        try:
            self.wait_until_writing(pushing)
            time.sleep(self.dice.uniform(0, longest))
        finally:
            pushing.kill()
        state = self.state()
        return state is not None and bool(state.begun)

    def account(self) -> dict[str, int]:
        """Compares the store with the offline partitions of the hour, key by key."""
        counts = dict.fromkeys(("keys", "missing", "different", "from_the_future", "older_than_a_day", "left_over"), 0)
        end = (self._at(self.hour) + HOUR).timestamp()
        for group in self.groups:
            wanted, held = self._rows[group.name], self._held(group)
            entities = list(wanted)
            decoded = GroupDecoder(group).decode([held.get(entity) for entity in entities])
            as_of = np.array([int.from_bytes(held[e][8:16], "big") if e in held else end for e in entities])
            counts["keys"] += len(entities)
            counts["missing"] += int(decoded.missing.sum())
            counts["different"] += int((~_same(decoded.values, _matrix(group, wanted)) & ~decoded.missing).sum())
            counts["from_the_future"] += int((as_of > end).sum())
            counts["older_than_a_day"] += int((as_of < end - 24 * 3600).sum())
            gone = [packed for entity, packed in held.items() if entity not in wanted]
            if gone:
                defaults = np.array([feature.default_value for feature in group.features], dtype=np.float32)
                counts["left_over"] += int((~_same(GroupDecoder(group).decode(gone).values, defaults)).sum())
        return counts

    def _mutate(self) -> None:
        for name, rows in self._rows.items():
            for entity in self.dice.sample(list(rows), int(CHANGED * len(rows))):
                rows[entity] = None if self.dice.random() < 0.1 else float(self.dice.randrange(10**6))
            for entity in self.dice.sample(list(rows), int(GONE * len(rows))):
                del rows[entity]
            for _ in range(int(BORN * len(rows))):
                self._born += 1
                rows[f"{name}-born-{self._born}"] = float(self._born)

    def _at(self, hour: int) -> datetime:
        return START + timedelta(hours=hour)


class RedisCampaign(Campaign):
    """Against a redis-server of its own."""

    store: Store = "redis"

    def __init__(self, directory: Path, rows: int, seed: int) -> None:
        super().__init__(directory, rows, seed)
        self.redis = RedisProcess(directory)

    @property
    def address(self) -> StoreAddress:
        return RedisAddress("127.0.0.1", self.redis.port)

    def _where(self) -> list[str]:
        redis = ["--redis-host", "127.0.0.1", "--redis-port", str(self.redis.port)]
        return [*redis, "--table", "none", "--region", "none"]

    def _held(self, group: FeatureGroup) -> dict[str, bytes]:
        prefix = redis_key(group, "").encode()
        keys = list(self.redis.client.scan_iter(match=prefix + b"*", count=5000))
        values: list[Any] = []
        for start in range(0, len(keys), 5000):
            values += self.redis.client.mget(keys[start : start + 5000])
        return {key.removeprefix(prefix).decode(): value for key, value in zip(keys, values, strict=True)}


class DynamoDBCampaign(Campaign):
    """Against a table of a DynamoDB that a test can throttle."""

    store: Store = "dynamodb"
    region = "eu-west-1"
    table = "features"

    def __init__(self, directory: Path, rows: int, seed: int, patch: pytest.MonkeyPatch) -> None:
        super().__init__(directory, rows, seed)
        self.tables = TableServer(directory)
        self.tables.start()
        self.tables.create(self.table)
        self.faults = Faults(directory / "state" / "faults.json")
        config = LocalcloudSettings()
        access = {
            "AWS_ENDPOINT_URL_DYNAMODB": self.tables.url,
            "AWS_ACCESS_KEY_ID": config.access_key,
            "AWS_SECRET_ACCESS_KEY": config.secret_key,
        }
        for name, value in access.items():
            patch.setenv(name, value)

    @property
    def address(self) -> StoreAddress:
        return DynamoDBAddress(self.table, self.region)

    def _where(self) -> list[str]:
        return ["--redis-host", "none", "--redis-port", "1", "--table", self.table, "--region", self.region]

    def _held(self, group: FeatureGroup) -> dict[str, bytes]:
        prefix = dynamodb_key(group, "")
        pages: Iterable[Any] = self.tables.connect().get_paginator("scan").paginate(TableName=self.table)
        items = (item for page in pages for item in page["Items"] if item["entity_id"]["S"].startswith(prefix))
        return {item["entity_id"]["S"].removeprefix(prefix): item["packed"]["B"] for item in items}


def _matrix(group: FeatureGroup, numbers: Numbers) -> Any:
    """What the offline partition holds, float32 [entities, features]; see ``tests.support.feature_lake``."""
    first = np.array([np.nan if n is None else n for n in numbers.values()], dtype=np.float32)
    return first[:, None] + np.arange(len(group.names), dtype=np.float32)


def _same(online: Any, offline: Any) -> Any:
    """Per row, whether all values are equal or both missing."""
    return ((online == offline) | (np.isnan(online) & np.isnan(offline))).all(axis=1)
