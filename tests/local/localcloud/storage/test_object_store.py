"""The S3 API over the lake: what boto3 does with S3 works, and what others write to the directory is seen as it is."""

from __future__ import annotations

import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.localcloud.cloud import Cloud

pytestmark = pytest.mark.stack


@pytest.fixture
def s3(cloud: Cloud) -> Any:
    return cloud.s3


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def listed(s3: Any, cloud: Cloud, prefix: str, **more: Any) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=cloud.bucket, Prefix=prefix, **more)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def test_keys_with_equals_signs_are_plain_directories(cloud: Cloud, s3: Any) -> None:
    key = "raw/events/dt=2026-01-01/hr=00/part-0.parquet"
    s3.put_object(Bucket=cloud.bucket, Key=key, Body=b"rows", Metadata={"rows": "4"})

    assert cloud.path(key).read_bytes() == b"rows"
    got = s3.get_object(Bucket=cloud.bucket, Key=key)
    assert got["Body"].read() == b"rows"
    assert got["Metadata"] == {"rows": "4"}
    assert s3.get_object(Bucket=cloud.bucket, Key=key, Range="bytes=1-99")["Body"].read() == b"ows"
    s3.delete_object(Bucket=cloud.bucket, Key=key)
    with pytest.raises(ClientError) as gone:
        s3.get_object(Bucket=cloud.bucket, Key=key)
    assert code_of(gone) == "NoSuchKey"


def test_an_object_that_another_writer_replaced_is_served_as_it_is_now(cloud: Cloud, s3: Any) -> None:
    s3.put_object(Bucket=cloud.bucket, Key="raw/_MANIFEST.json", Body=b"first")
    before = s3.head_object(Bucket=cloud.bucket, Key="raw/_MANIFEST.json")["ETag"]

    cloud.path("raw/_MANIFEST.json").write_bytes(b"second, longer")

    got = s3.get_object(Bucket=cloud.bucket, Key="raw/_MANIFEST.json")
    assert got["Body"].read() == b"second, longer"
    assert got["ContentLength"] == 14
    assert got["ETag"] != before


def test_an_object_that_is_replaced_while_it_is_read_is_read_as_it_was(cloud: Cloud, s3: Any) -> None:
    old = b"old" * (1 << 20)
    s3.put_object(Bucket=cloud.bucket, Key="staging/replaced", Body=old)
    reading = s3.get_object(Bucket=cloud.bucket, Key="staging/replaced")
    first = reading["Body"].read(10)
    s3.put_object(Bucket=cloud.bucket, Key="staging/replaced", Body=b"new")
    assert first + reading["Body"].read() == old
    assert s3.get_object(Bucket=cloud.bucket, Key="staging/replaced")["Body"].read() == b"new"


def test_listings_are_in_key_order_across_pages_and_hide_work_in_progress(cloud: Cloud, s3: Any) -> None:
    wanted = ["staging/l/a-b", "staging/l/a.c", "staging/l/a/x", "staging/l/a/y/z", "staging/l/a0", "staging/l/b/c"]
    for key in reversed(wanted):
        s3.put_object(Bucket=cloud.bucket, Key=key, Body=b"")
    cloud.put("staging/l/_temporary/0/part", "")
    cloud.put("staging/l/.part.crc", "")
    cloud.path("staging/l/empty").mkdir()

    assert listed(s3, cloud, "staging/l/") == wanted
    assert listed(s3, cloud, "staging/l/", PaginationConfig={"PageSize": 1}) == wanted
    assert listed(s3, cloud, "staging/l/a", StartAfter="staging/l/a/x") == ["staging/l/a/y/z", "staging/l/a0"]
    page = s3.list_objects_v2(Bucket=cloud.bucket, Prefix="staging/l/", Delimiter="/")
    assert [item["Key"] for item in page["Contents"]] == ["staging/l/a-b", "staging/l/a.c", "staging/l/a0"]
    assert [item["Prefix"] for item in page["CommonPrefixes"]] == ["staging/l/a/", "staging/l/b/"]


def test_multipart_uploads_arrive_whole(cloud: Cloud, s3: Any) -> None:
    key, part = "staging/big", b"x" * (5 << 20)
    upload = s3.create_multipart_upload(Bucket=cloud.bucket, Key=key)["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(Bucket=cloud.bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in ((1, part), (2, b"end"))
    ]
    s3.complete_multipart_upload(Bucket=cloud.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})

    assert cloud.path(key).read_bytes() == part + b"end"
    assert s3.head_object(Bucket=cloud.bucket, Key=key)["ContentLength"] == len(part) + 3


def test_of_many_conditional_puts_one_wins(cloud: Cloud) -> None:
    clients = [cloud.s3 for _ in range(8)]

    def put(number: int) -> bool:
        try:
            clients[number].put_object(Bucket=cloud.bucket, Key="staging/lock", Body=b"%d" % number, IfNoneMatch="*")
        except clients[number].exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))

    assert sum(won) == 1
    assert cloud.path("staging/lock").read_bytes() == b"%d" % won.index(True)


def test_a_put_over_another_version_is_refused(cloud: Cloud, s3: Any) -> None:
    etag = s3.put_object(Bucket=cloud.bucket, Key="staging/if", Body=b"1")["ETag"]
    s3.put_object(Bucket=cloud.bucket, Key="staging/if", Body=b"2", IfMatch=etag)

    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=cloud.bucket, Key="staging/if", Body=b"3", IfMatch=etag)

    assert code_of(refused) == "PreconditionFailed"
    assert cloud.path("staging/if").read_bytes() == b"2"


def test_strangers_are_refused(cloud: Cloud) -> None:
    import boto3

    stranger = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{cloud.config.s3_port}",
        region_name="eu-west-1",
        aws_access_key_id="stranger",
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError) as refused:
        stranger.list_objects_v2(Bucket=cloud.bucket)
    assert code_of(refused) == "InvalidAccessKeyId"


def test_the_fault_switch_refuses_writes_and_only_writes(cloud: Cloud, s3: Any) -> None:
    s3.put_object(Bucket=cloud.bucket, Key="staging/before", Body=b"1")
    cloud.call("POST", "/faults/refuse_s3_writes", {"seconds": 30})

    for _ in range(2):
        with pytest.raises(ClientError) as refused:
            s3.put_object(Bucket=cloud.bucket, Key="staging/after", Body=b"x" * 100_000)
        assert code_of(refused) == "SlowDown"
    assert s3.get_object(Bucket=cloud.bucket, Key="staging/before")["Body"].read() == b"1"

    cloud.call("DELETE", "/faults/refuse_s3_writes")
    s3.put_object(Bucket=cloud.bucket, Key="staging/after", Body=b"2")


def test_a_browser_reads_data_docs_and_nothing_else(cloud: Cloud) -> None:
    root = f"http://127.0.0.1:{cloud.config.s3_port}/{cloud.bucket}"
    page = "validation/dt=2026-01-01/hr=00/runs/manual__2026~3A1/docs/index.html"
    cloud.put(page, "<h1>what was found</h1>")
    cloud.put("validation/dt=2026-01-01/hr=00/results.json", "{}")
    with urllib.request.urlopen(f"{root}/{page}") as answer:
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.read() == b"<h1>what was found</h1>"
    for key in ("validation/dt=2026-01-01/hr=00/results.json", page.replace("index", "other")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{root}/{key}")
        assert refused.value.code in (403, 404)
