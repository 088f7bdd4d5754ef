"""Where the payload is of a letter that has no room for it: an object in a bucket, named in the letter (rule 29).

The name follows from the record and from the payload's digest: letters of one record whose bytes differ, as those of a
change do that a worker and a function wrote, are objects apart, and nothing is written over. A letter comes out of a
queue that others can write to, so what it says of its payload is checked: the name, the size, and the digest.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec

from streamkit.errors import StreamkitError

PREFIX: Final = "dead-letters"
MAX_PAYLOAD: Final = 10 * 2**20
"""Bytes: the most that Kinesis takes (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html)."""

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Of a consumer."""
BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""

Bucket = Annotated[str, msgspec.Meta(pattern=rf"\A{BUCKET}\Z")]
Address = Annotated[str, msgspec.Meta(pattern=rf"\A{PREFIX}/{NAME}/[0-9a-f]{{64}}-[0-9a-f]{{64}}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Lost(StreamkitError):
    """A payload is not where its letter says, or not what it says. The error quotes nothing of it."""


class Kept(msgspec.Struct, frozen=True):
    """A payload in a bucket. Decoded from a stranger's letter it can be shown: no odd character is in bucket or key."""

    bucket: Bucket
    key: Address
    """Of the object: nothing of record or key is in it but a digest."""
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAYLOAD)] = msgspec.field(name="bytes")
    """In bytes."""
    sha256: Digest
    """Of the payload."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def expect(self, payload: bytes) -> bytes:
        """Return the payload. Raises `Lost` for any other."""
        if len(payload) != self.size:
            raise Lost(f"{self}: expected the payload of {self.size} bytes, got an object of another size")
        if hashlib.sha256(payload).hexdigest() != self.sha256:
            raise Lost(f"{self}: expected the payload of SHA-256 {self.sha256}, got another object of its size")
        return payload


def folder(consumer: str) -> str:
    """Return what the names of a consumer's objects begin with."""
    return f"{PREFIX}/{consumer}/"


def address(consumer: str, *, name: str, sha256: str) -> str:
    """Return what an object is called: by its letter's name, and by the digest of the payload."""
    return f"{folder(consumer)}{name}-{sha256}"


def kept(payload: bytes, *, bucket: str, consumer: str, name: str) -> Kept | None:
    """Say where a payload is to go; nowhere if it is larger than any record of the service, or empty.

    An empty object has no first byte: a GET of a range of it is refused (416).
    """
    if not 0 < len(payload) <= MAX_PAYLOAD:
        return None
    digest = hashlib.sha256(payload).hexdigest()
    return Kept(bucket, address(consumer, name=name, sha256=digest), len(payload), digest)
