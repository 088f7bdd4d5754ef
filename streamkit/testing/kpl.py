"""What a KPL producer sends: aggregates of user records, for tests and for the emulator's users."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from streamkit.core.kpl import MAGIC


class UserRecord(NamedTuple):
    """One record as a producer gave it to the KPL."""

    key: str
    data: bytes
    hash_key: int | None = None
    """The explicit hash key, where the producer chose the shard itself."""


def aggregate(records: Iterable[UserRecord]) -> bytes:
    """Return the payload of one Kinesis record that holds `records` in this order."""
    users = list(records)
    keys = {key: index for index, key in enumerate(dict.fromkeys(user.key for user in users))}
    chosen = dict.fromkeys(user.hash_key for user in users if user.hash_key is not None)
    hash_keys = {hash_key: index for index, hash_key in enumerate(chosen)}
    message = b"".join(
        [
            *(_bytes(1, key.encode()) for key in keys),
            *(_bytes(2, str(hash_key).encode()) for hash_key in hash_keys),
            *(_bytes(3, _record(user, keys, hash_keys)) for user in users),
        ]
    )
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


def _record(user: UserRecord, keys: dict[str, int], hash_keys: dict[int, int]) -> bytes:
    chosen = b"" if user.hash_key is None else _number(2, hash_keys[user.hash_key])
    return _number(1, keys[user.key]) + chosen + _bytes(3, user.data)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Return seven bits a byte, the lowest first, with a flag on all but the last."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low]) if not rest else bytes([low | 0x80]) + _varint(rest)
