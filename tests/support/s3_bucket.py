"""A lake bucket behind the S3 API, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from adrank.storage.object_store import ObjectStore

_serial = itertools.count()


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """The S3 API of this process; credentials that open nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield


@pytest.fixture
def store(aws: None) -> ObjectStore:
    """An empty bucket."""
    bucket = f"lake-under-test-{next(_serial)}"
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    return ObjectStore(bucket, client)
