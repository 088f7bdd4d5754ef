"""Dead letters on SQS: returning means durable; what is not durable comes back by name.

Batches hold up to 10 messages; a queue's own limit bounds a message, 256 KiB or that limit bound the batch
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.aws.backoff import PASSING, Backoff
from streamkit.aws.call import Call
from streamkit.core.envelope import Envelope, envelope
from streamkit.core.letters import Letter
from streamkit.errors import ConfigurationError, Missing, Undelivered, WorldError
from streamkit.events import LetterTruncated
from streamkit.ports import Chance

if TYPE_CHECKING:
    from streamkit.ports import Report

BATCH = 10
BATCH_BYTES = 256 * 1024
"""What every region and emulator takes in one batch."""
PATIENCE = Backoff(base_seconds=0.1, limit_seconds=5.0, tries=6)


class Queue(msgspec.Struct, frozen=True):
    """What has to be known of a queue before anything is sent."""

    url: str
    fifo: bool
    limit_bytes: int
    """Of one message."""

    @property
    def batch_bytes(self) -> int:
        """Of one batch."""
        return max(BATCH_BYTES, self.limit_bytes)


class Posting(msgspec.Struct, frozen=True):
    """A letter and what is sent for it."""

    letter: Letter
    envelope: Envelope
    size_bytes: int


class SqsDeadLetters:
    """A queue by name, URL or ARN, FIFO or standard: `DeadLetters`."""

    def __init__(
        self, call: Call, *, queue: str, chance: Chance, report: Report, backoff: Backoff = PATIENCE
    ) -> None:
        self._call = call
        self._address = queue
        self._chance = chance
        self._report = report
        self._backoff = backoff
        self._queue: Queue | None = None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<SQS queue {self._address}>"

    async def open(self) -> Queue:
        """Look the queue up, once. Raises `Missing`, `Denied`."""
        async with self._opening:
            if self._queue is None:
                self._queue = await self._look_up()
            return self._queue

    async def send(self, letters: Sequence[Letter]) -> None:
        """Returning means every letter is durable. Raises `Undelivered` with those that are not."""
        queue = await self.open()
        waiting = [self._posting(letter, queue) for letter in letters]
        refused: list[Posting] = []
        cause, failures = "", 0
        while waiting:
            batch = _batch(waiting, queue)
            outcome = await self._send(batch, queue)
            gone = {id(posting) for posting in (*outcome.taken, *outcome.refused)}
            waiting = [posting for posting in waiting if id(posting) not in gone]
            if outcome.refused:
                refused += outcome.refused
                waiting, held = _without_groups(waiting, outcome.refused, queue)
                refused += held
            cause = outcome.cause or cause
            failures = 0 if outcome.taken else failures + 1
            if outcome.final or failures == self._backoff.tries:
                break
            if waiting and len(gone) < len(batch):
                await asyncio.sleep(self._backoff.delay(max(failures, 1), self._chance))
        if waiting or refused:
            lost = {id(posting.letter) for posting in (*waiting, *refused)}
            raise Undelivered([letter for letter in letters if id(letter) in lost], cause)

    async def _look_up(self) -> Queue:
        """Find the queue and read its attributes."""
        try:
            url = await self._url()
            answer = await self._call(
                "GetQueueAttributes", QueueUrl=url, AttributeNames=["MaximumMessageSize", "QueueArn"]
            )
        except Missing as error:
            raise Missing(f"dead-letter queue {self._address}: {error}") from error
        attributes: Mapping[str, str] = answer["Attributes"]
        arn = attributes.get("QueueArn", url)
        return Queue(url, arn.endswith(".fifo"), int(attributes.get("MaximumMessageSize", BATCH_BYTES)))
