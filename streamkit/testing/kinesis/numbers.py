"""Sequence numbers and hash keys, laid out as AWS lays them out.

A sequence number is 188 bits, which is 56 decimal digits today:

    | 4 bits: 2 | 36: second the shard opened | 4: low bits of the shard's index | 64: counter |
    | 8: 0 | 36: second of arrival | 32: the shard's index | 4: version 2 |

So numbers of one shard grow with the counter, numbers of a child are beyond those of its parents, and no two
shards share one. Source: decoding numbers of real streams in public test suites; AWS documents only that they grow.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

HASH_KEYS = 1 << 128
CLOSING_COUNTER = (1 << 63) - 1
"""The counter in a closed shard's EndingSequenceNumber: far beyond its last record."""

_TOP, _VERSION = 2, 2
_DIGITS = 56


class NotANumber(ValueError):
    """Raised for what cannot be a sequence number of ours."""


class Parts(NamedTuple):
    """What a sequence number encodes. Times in epoch seconds."""

    opened: int
    shard: int
    counter: int
    arrived: int


class HashRange(NamedTuple):
    """Hash keys from `start` to `end`, both included."""

    start: int
    end: int


def sequence_number(*, opened: int, shard: int, counter: int, arrived: int) -> int:
    """Compose the number; `parts` is its inverse."""
    high = ((_TOP << 36 | opened) << 4 | shard & 0xF) << 64 | counter
    return ((high << 44 | arrived) << 32 | shard) << 4 | _VERSION


def parts(text: str) -> Parts:
    """Take a number apart. Raises `NotANumber` for anything `sequence_number` does not compose."""
    if len(text) != _DIGITS or not (text.isascii() and text.isdigit()):
        raise NotANumber(text)
    number = int(text)
    found = Parts(
        opened=number >> 148 & (1 << 36) - 1,
        shard=number >> 4 & 0xFFFF_FFFF,
        counter=number >> 80 & (1 << 64) - 1,
        arrived=number >> 36 & (1 << 36) - 1,
    )
    if sequence_number(**found._asdict()) != number:
        raise NotANumber(text)
    return found


def hash_key(partition_key: str) -> int:
    """Return the MD5 of the key as a 128-bit integer, as PutRecord documents."""
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


def uniform(count: int) -> list[HashRange]:
    """Cut the hash key space into `count` ranges of equal size; the last takes the remainder."""
    width = HASH_KEYS // count
    starts = [index * width for index in range(count)]
    return [HashRange(start, end - 1) for start, end in zip(starts, [*starts[1:], HASH_KEYS], strict=True)]
