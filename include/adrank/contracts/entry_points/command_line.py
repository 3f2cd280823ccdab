"""Command lines, declared once: who starts a program renders its flags, the program parses them.

A field is a flag: ``redis_host`` is ``--redis-host``. A list's flag is repeated, a tuple's takes all of its values, and
a bool that is off by default is a switch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from adrank.contracts.timestamps import as_utc, floor_day, floor_hour

if TYPE_CHECKING:
    from adrank.contracts.settings import Settings

_DURATION: Final = TypeAdapter(timedelta)


class UnknownArgumentError(TypeError):
    """A program has no such flag."""


def _parse_time(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _parse_day(value: object) -> object:
    time = _parse_time(value)
    is_date = isinstance(value, str) and isinstance(time, datetime) and time.tzinfo is None and "T" not in value
    return time.replace(tzinfo=UTC) if is_date and isinstance(time, datetime) else time


def _require_start(floor: Any, what: str) -> AfterValidator:
    def check(moment: datetime) -> datetime:
        if floor(moment) != moment:
            raise ValueError(f"{moment.isoformat()} is not {what}")
        return moment

    return AfterValidator(check)


#: ISO 8601 with a zone; UTC afterwards.
Time = Annotated[datetime, BeforeValidator(_parse_time), AfterValidator(as_utc)]
#: The UTC hour that holds a time.
Hour = Annotated[Time, AfterValidator(floor_hour)]
#: A time that must be the start of a UTC hour.
WholeHour = Annotated[Time, _require_start(floor_hour, "a whole hour")]
#: A date, or a time that must be the start of a UTC day.
Day = Annotated[
    datetime, BeforeValidator(_parse_day), AfterValidator(as_utc), _require_start(floor_day, "the start of a UTC day")
]


_SETTING: Final = "setting"


def setting(read: Callable[[Settings], Any], **more: Any) -> Any:
    """A field that settings decide wherever the program is started; ``more`` as :func:`pydantic.Field` takes it."""
    return Field(json_schema_extra={_SETTING: read}, **more)  # type: ignore[dict-item]


def loaded(read: Callable[[Settings], Any], **more: Any) -> Any:
    """A field that this process's own settings decide, unless its command line does."""

    def default() -> Any:
        from adrank.contracts.settings import load

        return read(load())

    return Field(default_factory=default, **more)


class EntryPointArguments(BaseSettings):
    """The command line of one program. Nothing but the command line fills a flag, least of all the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_hide_none_type=True,
        # Every word is text; none means that a flag was not given.
        cli_parse_none_str="\0",
    )

    #: What is started: a file of :mod:`spark.jobs`, or a module.
    program: ClassVar[str]

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """No source but the command line and the constructor."""
        return (sources["init_settings"],)

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> Self:
        """The arguments of ``argv`` (default: this process's); a wrong one ends the process with code 2, named."""
        source = CliSettingsSource[Any](cls, cli_prog_name=cls.program)
        try:
            return cls(_cli_settings_source=source(args=list(sys.argv[1:] if argv is None else argv)))
        except ValidationError as error:
            reason = "; ".join(_described(dict(found)) for found in error.errors())
        except SettingsError as error:
            reason = f"{error}: {error.__cause__}"
        print(f"{cls.program}: error: {reason}", file=sys.stderr)
        sys.exit(2)

    @classmethod
    def command_line(cls, **values: Any) -> list[str]:
        """The flags of ``values``, by field; None gives none, and text, such as a Jinja template, stands as it is.

        :raises UnknownArgumentError: a name is not one of the program's
        """
        flags = {name: f"--{(field.alias or name).replace('_', '-')}" for name, field in cls.model_fields.items()}
        unknown = sorted(values.keys() - flags.keys())
        if unknown:
            raise UnknownArgumentError(f"{cls.program} has no {', '.join(unknown)}; it has {', '.join(flags)}")
        return [word for name, value in values.items() for word in cls._words(name, flags[name], value)]

    @classmethod
    def from_settings(cls, settings: Settings) -> dict[str, Any]:
        """What settings decide, by field."""
        extras: dict[str, Any] = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: extra[_SETTING](settings) for name, extra in extras.items() if extra}

    @classmethod
    def _words(cls, name: str, flag: str, value: Any) -> list[str]:
        field = cls.model_fields[name]
        if value is None or (value is False and field.default is False):
            return []
        if value is True and field.default is False:
            return [flag]
        if isinstance(value, list | tuple):
            texts = [_text(item) for item in value]
            repeated = get_origin(field.annotation) is list
            return [word for text in texts for word in (flag, text)] if repeated else [flag, *texts]
        return [flag, _text(value)]


class LakeArguments(EntryPointArguments):
    """The command line of a program that knows the lake by its own settings."""

    bucket: str = loaded(lambda s: s.lake.bucket, description="bucket of the lake")


def _text(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(_DURATION.dump_python(value, mode="json"))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(error: dict[str, Any]) -> str:
    """One of pydantic's errors, with the flag that it is about."""
    reason = error.get("ctx", {}).get("error", error["msg"])
    path = ".".join(part for part in error["loc"] if isinstance(part, str)).replace("_", "-")
    return f"argument --{path}: {reason}" if path else str(reason)
