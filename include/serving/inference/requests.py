"""What may be posted to ``/invocations``, checked to the last field."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

MAX_CANDIDATES: Final = 1000

Name = Annotated[str, Field(min_length=1, max_length=256)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class InvalidRequestError(ValueError):
    """A request that cannot be answered; the message names the field."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Candidate(_Strict):
    """An ad to be ranked. ``context`` holds request-time features; absent and null are missing.

    Features looked up by ``seller_id`` or ``category`` (as the catalogue spells it) take their defaults without it.
    """

    ad_id: Name
    seller_id: Name | None = None
    category: Name | None = None
    context: dict[str, Number | None] = {}


class RankRequest(_Strict):
    """Rank ``candidates``. Without ``event_time`` no row counts as stale."""

    search_id: Name
    user_id: Name
    event_time: AwareDatetime | None = None
    candidates: list[Candidate] = Field(min_length=1, max_length=MAX_CANDIDATES)


class GoldenRequest(_Strict):
    """Score vectors as they are (rows x features; null is missing)."""

    vectors: list[list[Number | None]] = Field(min_length=1, max_length=MAX_CANDIDATES)


class ProbeRequest(_Strict):
    """Say what is being served."""

    probe: Literal[True]


Request = RankRequest | GoldenRequest | ProbeRequest


def _kind(body: Any) -> str:
    if isinstance(body, dict):
        for kind, mark in (("golden", "vectors"), ("probe", "probe")):
            if mark in body:
                return kind
    return "rank"


_REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(
    Annotated[
        Annotated[RankRequest, Tag("rank")]
        | Annotated[GoldenRequest, Tag("golden")]
        | Annotated[ProbeRequest, Tag("probe")],
        Discriminator(_kind),
    ]
)


def parse(body: bytes) -> Request:
    """Read a request from JSON, or raise :class:`InvalidRequestError` for the first thing wrong with it."""
    try:
        return _REQUEST.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidRequestError(_message(first["loc"], first["msg"], error.error_count())) from None


def _message(loc: tuple[int | str, ...], problem: str, count: int) -> str:
    # The first element is the kind of request, which the caller never wrote.
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:]).removeprefix(".")
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{path or 'request body'}: {problem}{more}"
