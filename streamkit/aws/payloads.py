"""Payloads on S3 that their letters have no room for: `Payloads`.

A PUT that is answered is durable, and seen by every later GET
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel); S3 takes it only if what came has
the SHA-256 that goes with it
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html). Objects are encrypted as
the bucket says. Nothing is deleted here: a copy of a letter may turn up late, and letters that the queue itself forgets
leave objects behind, so the bucket needs a lifecycle rule anyway (docs/dead-letters.md).
"""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING

from streamkit.aws.backoff import Backoff, persist
from streamkit.aws.errors import Rejected, Unaccredited
from streamkit.core.kept import Kept, Lost
from streamkit.errors import Denied, Missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamkit.aws.call import Call
    from streamkit.aws.clients import Aws
    from streamkit.consumer import Sqs
    from streamkit.ports import Chance

PATIENCE = Backoff(base_seconds=0.2, limit_seconds=2.0, tries=3)


def payloads_of(at: Sqs, aws: Aws, *, chance: Chance) -> S3Payloads | None:
    """Return the bucket that belongs to a queue, if one does."""
    return None if at.bucket is None else S3Payloads(lambda: aws.call("s3"), bucket=at.bucket, chance=chance)


class S3Payloads:
    """One bucket, whose client is opened with the first payload: most consumers never see one."""

    def __init__(self, opened: Callable[[], Awaitable[Call]], *, bucket: str, chance: Chance) -> None:
        self._opened = opened
        self._bucket = bucket
        self._chance = chance

    def __repr__(self) -> str:
        return f"<S3 bucket {self._bucket}>"

    @property
    def bucket(self) -> str:
        """Its name."""
        return self._bucket

    async def check(self) -> None:
        """See that the bucket is there. Raises `Missing`, `Denied`."""
        call = await self._opened()
        await persist(partial(call, "HeadBucket", Bucket=self._bucket), backoff=PATIENCE, chance=self._chance)

    async def keep(self, kept: Kept, payload: bytes) -> None:
        """Returning means the payload is durable where `kept` says. Passing errors are waited out a few times."""
        call = await self._opened()
        put = partial(
            call,
            "PutObject",
            Bucket=kept.bucket,
            Key=kept.key,
            Body=payload,
            ContentType="application/octet-stream",
            ChecksumSHA256=base64.b64encode(bytes.fromhex(kept.sha256)).decode(),
        )
        await persist(put, backoff=PATIENCE, chance=self._chance)

    async def fetch(self, kept: Kept) -> bytes:
        """Return what is kept, to the byte.

        Raises `Lost` for an object of another bucket, missing, denied or another; whatever would keep any other payload
        away as well, such as credentials that have expired, as it is.
        """
        if kept.bucket != self._bucket:
            raise Lost(f"{kept}: expected a payload in the consumer's bucket, {self._bucket}, got one elsewhere")
        call = await self._opened()
        # a byte more than there should be, so that a larger object is noticed and not read
        get = partial(call, "GetObject", Bucket=kept.bucket, Key=kept.key, Range=f"bytes=0-{kept.size}")
        try:
            answer = await persist(get, backoff=PATIENCE, chance=self._chance)
        except Missing as error:
            raise Lost(f"{kept}: expected the payload of a letter, got no such object or bucket") from error
        except Unaccredited:
            raise
        except Denied as error:
            raise Lost(f"{kept}: {error}; without s3:ListBucket a missing object looks the same") from error
        except Rejected as error:
            raise Lost(f"{kept}: {error}") from error
        return kept.expect(answer["Body"])
