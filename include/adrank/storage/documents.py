"""JSON documents of the lake that are only ever written over the version that their writer saw last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

from adrank.storage.object_store import ConflictError, ObjectStore, Version

_Model = TypeVar("_Model", bound=BaseModel)


class FencedError(RuntimeError):
    """Another process owns what this one believed to own, and so this one must write no more."""


class VersionedDocument(Generic[_Model]):
    """One document and the version of it that this process knows. Build it with :meth:`open`.

    ``current``: what it says, None while it is not there. ``found``: the version that :meth:`open` came upon.
    """

    def __init__(self, store: ObjectStore, key: str, found: Version | None, current: _Model | None) -> None:
        self._store = store
        self._etag = None if found is None else found.etag
        self.key = key
        self.found = found
        self.current = current

    @classmethod
    def open(cls, store: ObjectStore, key: str, model: type[_Model]) -> Self:
        """Read the document.

        :raises ValidationError: it is no such ``model``
        """
        found = store.find_version(key)
        return cls(store, key, found, None if found is None else model.model_validate_json(found.body))

    def save(self, document: _Model) -> None:
        """Write over the version that this process knows; :class:`ConflictError` when there is another."""
        self._etag = self._store.put_if_match(self.key, encode(document), self._etag)
        self.current = document


def update(
    store: ObjectStore, key: str, model: type[_Model], change: Callable[[_Model | None], _Model], attempts: int = 5
) -> _Model:
    """Read a document (None: it is not there), change it and write it; returns what it says now.

    Whoever is overtaken reads and changes anew, so ``change`` may be called up to ``attempts`` times; after the last
    of them :class:`ConflictError`. A change that changes nothing is not written.
    """
    for _ in range(attempts - 1):
        with suppress(ConflictError):
            return _update_once(store, key, model, change)
    return _update_once(store, key, model, change)


def encode(document: BaseModel) -> bytes:
    """The bytes of a document."""
    return document.model_dump_json(indent=2).encode()


def _update_once(
    store: ObjectStore, key: str, model: type[_Model], change: Callable[[_Model | None], _Model]
) -> _Model:
    document = VersionedDocument.open(store, key, model)
    changed = change(document.current)
    if changed != document.current:
        document.save(changed)
    return changed
