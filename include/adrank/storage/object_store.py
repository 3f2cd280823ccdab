"""One bucket through the S3 API, safe to share between threads: the only place that writes on a condition."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

# Another conditional write was under way at the same moment.
_RACED: Final = "ConditionalRequestConflict"
# If-Match or If-None-Match did not hold; the object that If-Match names is gone.
_CONFLICTS: Final = ("PreconditionFailed", "NoSuchKey", _RACED)
# Time-out, two conditional writes at once, too many requests.
_BUSY: Final = (408, 409, 429)
_RACES: Final = 5


class ObjectStoreError(RuntimeError):
    """The bucket refused a call; the message names bucket, key and reason."""

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later: no answer came, or the store was busy or broken."""
        from botocore.exceptions import HTTPClientError

        response: dict[str, Any] = getattr(self.__cause__, "response", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status in _BUSY or isinstance(self.__cause__, HTTPClientError)


class ConflictError(ObjectStoreError):
    """Somebody else wrote the object first."""


class Version(NamedTuple):
    """An object's bytes, the tag that only this version of it has, when it was written, and the answer's HTTP date."""

    body: bytes
    etag: str
    last_modified: datetime
    date: str

    @property
    def now(self) -> datetime:
        """When this was asked, by the clock that ``last_modified`` is by."""
        return parsedate_to_datetime(self.date)


class ObjectStore:
    """Objects of one bucket. Build it with :meth:`connect`, or around a boto3 S3 client that is already there."""

    def __init__(self, bucket: str, client: Any) -> None:
        self.bucket = bucket
        self.client = client

    @classmethod
    def connect(
        cls,
        bucket: str,
        *,
        region: str | None = None,
        connections: int = 16,
        connect_timeout: float = 60,
        read_timeout: float = 60,
    ) -> ObjectStore:
        """Connect with the process's credentials; ``connections`` bounds the calls in flight at once."""
        import boto3
        from botocore.config import Config

        config = Config(
            max_pool_connections=connections,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "max_attempts": 5},
        )
        return cls(bucket, boto3.client("s3", region_name=region, config=config))

    def put(self, key: str, body: bytes, content_type: str = "binary/octet-stream") -> None:
        """Write one object, replacing what was there."""
        self._call("put_object", key, Body=body, ContentType=content_type)

    def put_if_match(self, key: str, body: bytes, etag: str | None) -> str:
        """Write one JSON document over the version ``etag`` (None: where none is) and return the new version's tag.

        Raises :class:`ConflictError` when there is another version. A write that took effect while its answer was
        lost counts as done.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        for _ in range(_RACES):
            try:
                done = self._call("put_object", key, Body=body, ContentType="application/json", **condition)
                return str(done["ETag"])
            except ObjectStoreError as error:
                if _code(error) not in _CONFLICTS:
                    raise
                current = self.find_version(key)
                if current is not None and current.body == body:
                    return current.etag
                if _code(error) != _RACED or etag != (current.etag if current else None):
                    break
        raise ConflictError(f"s3://{self.bucket}/{key} was written by somebody else")

    def find_version(self, key: str) -> Version | None:
        """One object as it is now, or None when it is not there."""
        try:
            found = self._call("get_object", key)
        except ObjectStoreError as error:
            if _code(error) == "NoSuchKey":
                return None
            raise
        date = found["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        return Version(found["Body"].read(), found["ETag"], found["LastModified"], date)

    def get(self, key: str) -> bytes:
        """The bytes of one object."""
        content: bytes = self._call("get_object", key)["Body"].read()
        return content

    def find(self, key: str) -> bytes | None:
        """The bytes of one object, or None when it is not there."""
        found = self.find_version(key)
        return None if found is None else found.body

    def copy(self, source_key: str, key: str) -> None:
        """Copy one object inside the bucket."""
        self._call("copy_object", key, CopySource={"Bucket": self.bucket, "Key": source_key})

    def delete(self, key: str) -> None:
        """Delete one object; one that is not there is fine."""
        self._call("delete_object", key)

    def folders(self, prefix: str) -> list[str]:
        """The prefixes one level below ``prefix``, sorted, each with its closing slash."""
        pages = self._pages(prefix, Delimiter="/")
        return sorted(item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ()))

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys under ``prefix``, in the store's order."""
        for page in self._pages(prefix):
            for item in page.get("Contents", ()):
                yield item["Key"]

    def etags(self, prefix: str) -> dict[str, str]:
        """Keys under ``prefix``, each with the tag of the version that is there, without reading any."""
        return {item["Key"]: str(item["ETag"]) for page in self._pages(prefix) for item in page.get("Contents", ())}

    def _pages(self, prefix: str, **arguments: object) -> Iterator[Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self.client.get_paginator("list_objects_v2")
        try:
            yield from pages.paginate(Bucket=self.bucket, Prefix=prefix, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreError(f"list_objects_v2 of s3://{self.bucket}/{prefix} failed: {error}") from error

    def _call(self, operation: str, key: str, **arguments: object) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self.client, operation)(Bucket=self.bucket, Key=key, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreError(f"{operation} of s3://{self.bucket}/{key} failed: {error}") from error


def _code(error: ObjectStoreError) -> str | None:
    """What S3 calls the refusal; None when the call did not reach it."""
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    code: str | None = response.get("Error", {}).get("Code")
    return code
