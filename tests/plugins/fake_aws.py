"""A stand-in for AWS where moto has none: an asynchronous client that answers from a list."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

#: Where moto's account has its resources.
REGION = "eu-west-1"


class FakeAws:
    """Answers describe calls from a list; an exception in it is raised."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        return None

    def __getattr__(self, operation: str) -> Any:
        async def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            answer = self.answers.pop(0) if self.answers else {}
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call
