"""Clients of the online stores, tuned so that a slow store is given up quickly and a broken connection is replaced.

And of the lake, which gets a sample of what the stores gave.
"""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from adrank.contracts.entry_points.serving import ServedRowsEnvironment, StoresEnvironment
from adrank.contracts.registry import Registry
from adrank.online.reader import DynamoDBPolicy, OnlineReader
from adrank.online.vectors import VectorLayout
from serving.inference.served_rows import ServedRowsLog


def open_reader(registry: Registry, stores: StoresEnvironment, threads: int) -> OnlineReader:
    """A reader with clients for ``threads`` concurrent requests. Nothing is connected yet."""
    return OnlineReader(
        registry,
        _redis(stores),
        _dynamodb(stores, threads),
        stores.features_table,
        DynamoDBPolicy(stores.dynamodb_timeout_ms / 1000, stores.cache_seconds),
        threads=threads,
    )


def open_served_log(layout: VectorLayout, served: ServedRowsEnvironment, region: str) -> ServedRowsLog:
    """A log of served rows in the lake. Nothing is connected yet."""
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    client = boto3.client("s3", region_name=region, config=config)

    def put(key: str, body: bytes) -> None:
        client.put_object(Bucket=served.bucket, Key=key, Body=body, ContentType="application/x-ndjson")

    return ServedRowsLog(layout, put, served.share)


def _redis(stores: StoresEnvironment) -> Any:
    return Redis(
        host=stores.redis_host,
        port=stores.redis_port,
        ssl=stores.redis_tls,
        socket_timeout=stores.redis_timeout_ms / 1000,
        socket_connect_timeout=stores.redis_timeout_ms / 1000,
        # A connection that the server dropped is worth one more try; a time-out would only wait twice.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        protocol=2,
        driver_info=None,
    )


def _dynamodb(stores: StoresEnvironment, threads: int) -> Any:
    return boto3.client(
        "dynamodb",
        region_name=stores.region,
        config=Config(
            connect_timeout=stores.dynamodb_timeout_ms / 1000,
            read_timeout=stores.dynamodb_timeout_ms / 1000,
            # The reader retries by itself, within the request's deadline; botocore's back-off knows no deadline.
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=threads,
            tcp_keepalive=True,
        ),
    )
