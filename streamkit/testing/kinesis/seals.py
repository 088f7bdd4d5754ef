"""Iterators and page tokens: what the world hands out and wants back unchanged."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import TypeVar

import msgspec

ITERATOR_SECONDS = 300
"""How long iterators and page tokens live."""

_MAC_BYTES = 16


class Broken(ValueError):
    """The token is not one of ours, or not as we made it."""


class Iterator(msgspec.Struct, frozen=True, array_like=True, tag="iterator"):
    """A place in a shard: the next record is the first numbered `position` or beyond. `issued` in epoch seconds."""

    stream: str
    created: float
    shard: str
    position: str
    issued: float


class Page(msgspec.Struct, frozen=True, array_like=True, tag="page"):
    """A place in a listing of shards, and what the listing was asked for. Times in epoch seconds."""

    stream: str
    created: float
    after: str
    filter: tuple[str, str | None, float | None] | None
    issued: float


Token = TypeVar("Token", Iterator, Page)


class Seal:
    """Turns tokens into text that only this key makes, so that a changed or invented one is noticed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, token: Iterator | Page) -> str:
        """Write the token as text."""
        body = msgspec.json.encode(token)
        return b64encode(self._mac(body) + body).decode()

    def open(self, text: str, kind: type[Token]) -> Token:
        """Read back what `close` wrote. Raises `Broken`."""
        try:
            sealed = b64decode(text, validate=True)
            mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(body)):
                return msgspec.json.decode(body, type=kind)
        except ValueError as wrong:
            raise Broken(text) from wrong
        raise Broken(text)

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2s(body, key=self._key, digest_size=_MAC_BYTES).digest()
