"""Messages to SQS, dead letters and successes: returning means durable; what is not durable comes back by name.

Limits: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from streamkit.aws.backoff import PASSING, Backoff
from streamkit.aws.call import Call
from streamkit.aws.outbox import BATCH_BYTES, Outbox, Queue, held_up
from streamkit.core.envelope import Envelope, envelope
from streamkit.core.letters import Letter
from streamkit.core.successes import Success
from streamkit.core.successes import envelope as told
from streamkit.errors import ConfigurationError, Denied, Missing, Undelivered, Untold, WorldError
from streamkit.events import LetterSpilled, LetterTruncated
from streamkit.ports import Chance

if TYPE_CHECKING:
    from streamkit.ports import Payloads, Report

PATIENCE = Backoff(base_seconds=0.1, limit_seconds=5.0, tries=5)
ARN_PARTS = 6
LETTERS, SUCCESSES = "dead-letter queue", "queue for successes"
LEAST_BYTES = 16 * 1024
"""The smallest limit of a queue that leaves room for the facts of a dead letter."""

REMEMBERED = 1_000
"""Payloads that need not be kept again, at most."""


class Loss(msgspec.Struct, frozen=True):
    """Messages that are not durable, if any."""

    numbers: tuple[int, ...] = ()
    cause: str = ""
    error: WorldError | None = None


class SqsQueue:
    """A queue by name, URL or ARN, FIFO or standard, to send to. `role` is what errors call it."""

    def __init__(self, call: Call, *, queue: str, chance: Chance, role: str, backoff: Backoff = PATIENCE) -> None:
        self._call = call
        self._role = role
        self._address = queue
        self._chance = chance
        self._backoff = backoff
        self._queue: Queue | None = None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<SQS queue {self._address}>"

    async def open(self) -> Queue:
        """Look the queue up, once. Raises `Missing`, `Denied`, `ConfigurationError` for an odd address."""
        async with self._opening:
            if self._queue is None:
                self._queue = await self._look_up()
            return self._queue

    async def _post(self, envelopes: Sequence[Envelope], queue: Queue) -> Loss:
        """Send messages; return those that are not durable, if any.

        What the queue refuses in passing is sent again a few times, with jittered back-off.
        """
        outbox = Outbox(envelopes, queue)
        cause, failures = "the queue calls them the sender's fault", 0
        while entries := outbox.batch():
            before = len(outbox.undelivered())
            try:
                answer = await self._call("SendMessageBatch", QueueUrl=queue.url, Entries=entries)
                passing = outbox.settle(entries, answer)
            except PASSING as error:
                passing = str(error)
            except WorldError as error:
                return Loss(tuple(outbox.undelivered()), str(error), error)
            if passing is None:
                continue
            cause = passing
            failures = failures + 1 if len(outbox.undelivered()) == before else 1
            if failures == self._backoff.tries:
                break
            await asyncio.sleep(self._backoff.delay(failures, self._chance))
        return Loss(tuple(outbox.undelivered()), cause)

    async def _look_up(self) -> Queue:
        """Find the queue and read its limit."""
        try:
            url = await self._url()
            answer = await self._call("GetQueueAttributes", QueueUrl=url, AttributeNames=["MaximumMessageSize"])
        except (Missing, Denied) as error:
            raise type(error)(f"{self._role} {self._address}: {error}") from error
        limit = int(answer.get("Attributes", {}).get("MaximumMessageSize", BATCH_BYTES))
        if limit < LEAST_BYTES:
            raise ConfigurationError(
                f"queue {self._address}: expected a MaximumMessageSize of at least {LEAST_BYTES}, got {limit}"
            )
        return Queue(url, limit)

    async def _url(self) -> str:
        """Return the URL behind a name, an ARN or a URL."""
        address = self._address
        if address.startswith(("https://", "http://")):
            return address
        owner = {}
        if address.startswith("arn:"):
            parts = address.split(":")
            if len(parts) != ARN_PARTS or parts[2] != "sqs":
                raise ConfigurationError(
                    f"expected a queue like 'arn:aws:sqs:us-east-1:123456789012:flights-dlq', got {address!r}"
                )
            address, owner = parts[5], {"QueueOwnerAWSAccountId": parts[4]}
        url: str = (await self._call("GetQueueUrl", QueueName=address, **owner))["QueueUrl"]
        return url


class SqsDeadLetters(SqsQueue):
    """`DeadLetters` on SQS. A payload that is too much for the queue goes to `payloads`, if there are any."""

    def __init__(
        self, call: Call, *, queue: str, chance: Chance, report: Report, payloads: Payloads | None = None
    ) -> None:
        super().__init__(call, queue=queue, chance=chance, role=LETTERS)
        self._report = report
        self._payloads = payloads
        self._waiting: dict[str, None] = {}
        """Objects whose letters the queue has not taken yet; by their names, in which the digests are."""

    async def send(self, letters: Sequence[Letter]) -> None:
        """Returning means every letter is durable. Raises `Undelivered` with those that are not."""
        queue = await self.open()
        bucket = None if self._payloads is None else self._payloads.bucket
        envelopes = [envelope(letter, limit_bytes=queue.limit_bytes, bucket=bucket) for letter in letters]
        unkept = await self._keep(letters, envelopes, queue)
        ready = [number for number in range(len(letters)) if number not in unkept.numbers]
        unsent = await self._post([envelopes[number] for number in ready], queue)
        lost = sorted([*unkept.numbers, *(ready[number] for number in unsent.numbers)])
        for number in sorted(set(ready).difference(lost)):
            self._tell(letters[number], envelopes[number], queue)
        if lost:
            losses = [loss for loss in (unsent, unkept) if loss.numbers]
            cause = "; ".join(dict.fromkeys(loss.cause for loss in losses))
            raise Undelivered([letters[number] for number in lost], cause) from losses[0].error

    async def _keep(self, letters: Sequence[Letter], envelopes: Sequence[Envelope], queue: Queue) -> Loss:
        """Make the payloads durable that letters speak of; return the letters that cannot go, if that fails.

        What was kept is not kept again while its letter waits for the queue.
        """
        for number, (letter, each) in enumerate(zip(letters, envelopes, strict=True)):
            if each.kept is None or self._payloads is None or each.kept.key in self._waiting:
                continue
            try:
                await self._payloads.keep(each.kept, letter.record.data)
            except WorldError as error:
                return Loss(held_up(envelopes, number, queue), str(error), error)
            self._waiting[each.kept.key] = None
            if len(self._waiting) > REMEMBERED:
                del self._waiting[next(iter(self._waiting))]
        return Loss()

    def _tell(self, letter: Letter, sent: Envelope, queue: Queue) -> None:
        """Say where the payload is of a letter that is durable without it."""
        record = letter.record
        shard, sequence, size = record.shard, record.sequence_number, len(record.data)
        if sent.kept is not None:
            self._waiting.pop(sent.kept.key, None)
            self._report(LetterSpilled(shard=shard, sequence=sequence, bytes=size))
        elif sent.truncated:
            self._report(LetterTruncated(shard=shard, sequence=sequence, bytes=size, limit_bytes=queue.limit_bytes))

    async def waiting(self) -> int:
        """Return about how many letters are in the queue, those somebody is just looking at included."""
        return await self._count("ApproximateNumberOfMessages") + await self.hidden()

    async def hidden(self) -> int:
        """Return about how many letters somebody is just looking at, or was when he crashed a moment ago."""
        return await self._count("ApproximateNumberOfMessagesNotVisible")

    async def _count(self, name: str) -> int:
        queue = await self.open()
        answer = await self._call("GetQueueAttributes", QueueUrl=queue.url, AttributeNames=[name])
        return int(answer.get("Attributes", {}).get(name, 0))


class SqsSuccesses(SqsQueue):
    """`Successes` on SQS. What does not fit into a message is told without its payload."""

    def __init__(self, call: Call, *, queue: str, chance: Chance) -> None:
        super().__init__(call, queue=queue, chance=chance, role=SUCCESSES)

    async def send(self, successes: Sequence[Success]) -> None:
        """Returning means every one is durable. Raises `Untold` with those that are not."""
        queue = await self.open()
        envelopes = [told(success, limit_bytes=queue.limit_bytes) for success in successes]
        loss = await self._post(envelopes, queue)
        if loss.numbers:
            raise Untold([successes[number] for number in loss.numbers], loss.cause) from loss.error
