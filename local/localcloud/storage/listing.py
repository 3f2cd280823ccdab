"""ListObjectsV2 from entries whose XML is ready: a page costs what is on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote
from xml.sax.saxutils import escape

from nanio.errors import InvalidArgument
from nanio.handlers.bucket import dispatch_bucket
from nanio.storage.backend import ObjectInfo
from nanio.xml import S3_NS
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PAGE_SIZE: Final = 1000
"""Keys and common prefixes on a page, at most: S3's limit."""

_OTHER_QUESTIONS: Final = ("location", "uploads")
"""Query parameters of a bucket's GET that are no listing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as HEAD and as listings show it; ``encoded`` is the XML where the client wants keys URL-encoded."""

    info: ObjectInfo
    xml: str
    encoded: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer lists. ``last`` is the last key or common prefix on it when more follow, or else None."""

    entries: list[Entry]
    common_prefixes: list[str]
    last: str | None


class Listable(Protocol):
    """A storage that can be listed."""

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, size: int) -> Page:
        """At most ``size`` keys and common prefixes after ``after``, in key order; an empty delimiter is none."""


def render(info: ObjectInfo) -> Entry:
    """The entry of an object."""
    tail = (
        f"</Key><LastModified>{info.last_modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f"<ETag>{_text(info.etag)}</ETag><Size>{info.size}</Size>"
        f"<StorageClass>{info.storage_class}</StorageClass></Contents>"
    )
    head = "<Contents><Key>"
    return Entry(info, f"{head}{_text(info.key)}{tail}", f"{head}{quote(info.key, safe='')}{tail}")


def paginate(found: Iterable[tuple[str, Entry | None]], size: int) -> Page:
    """The first ``size`` of what was found; an entry that is None makes its key a common prefix."""
    entries: list[Entry] = []
    common: list[str] = []
    last = ""
    for key, entry in found:
        if len(entries) + len(common) >= size:
            return Page(entries, common, last or None)
        if entry is None:
            common.append(key)
        else:
            entries.append(entry)
        last = key
    return Page(entries, common, None)


def routes(storage: Listable) -> list[Route]:
    """Routes that answer listings; they leave a bucket's other questions to nanio."""

    async def list_objects(request: Request) -> Response:
        bucket, query = request.path_params["bucket"], request.query_params
        if request.method != "GET" or any(question in query for question in _OTHER_QUESTIONS):
            response: Response = await dispatch_bucket(request)
            return response
        token, size = query.get("continuation-token"), _size(query.get("max-keys"))
        # The token is the last key or common prefix that was returned.
        after = _key_of(token) if token else query.get("start-after", "")
        page = storage.page(bucket, query.get("prefix", ""), query.get("delimiter", ""), after, size)
        return Response(_xml(bucket, page, dict(query), size), media_type="application/xml")

    return [Route(path, list_objects, methods=["GET"]) for path in ("/{bucket}", "/{bucket}/")]


def _xml(bucket: str, page: Page, query: dict[str, str], size: int) -> bytes:
    encoded = query.get("encoding-type") == "url"

    def named(key: str) -> str:
        return quote(key, safe="") if encoded else _text(key)

    parameters = {
        "Prefix": named(query.get("prefix", "")),
        "Delimiter": named(query.get("delimiter", "")),
        "StartAfter": named(query.get("start-after", "")),
        "ContinuationToken": _text(query.get("continuation-token", "")),
        "EncodingType": "url" if encoded else "",
        "NextContinuationToken": page.last.encode().hex() if page.last else "",
    }
    return "".join(
        (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{S3_NS}"><Name>{_text(bucket)}</Name>',
            f"<MaxKeys>{size}</MaxKeys><KeyCount>{len(page.entries) + len(page.common_prefixes)}</KeyCount>",
            f"<IsTruncated>{'true' if page.last else 'false'}</IsTruncated>",
            *(f"<{name}>{value}</{name}>" for name, value in parameters.items() if value or name == "Prefix"),
            *(entry.encoded if encoded else entry.xml for entry in page.entries),
            *(f"<CommonPrefixes><Prefix>{named(key)}</Prefix></CommonPrefixes>" for key in page.common_prefixes),
            "</ListBucketResult>",
        )
    ).encode()


def _size(text: str | None) -> int:
    if text is None:
        return PAGE_SIZE
    if not text.isdecimal():
        raise InvalidArgument(f"max-keys must be a number from 0 on, not {text!r}")
    return min(int(text), PAGE_SIZE)


def _key_of(token: str) -> str:
    try:
        return bytes.fromhex(token).decode()
    except ValueError:
        raise InvalidArgument(f"{token!r} is no continuation token") from None


def _text(value: str) -> str:
    return escape(value, {'"': "&quot;"})
