"""Dead letters on SQS, taken out to be looked at, redriven or purged: a `Mailbox`.

SQS hides what it hands out for a visibility time-out, at most 12 hours in all. A FIFO queue hands out no more letters
of a group while one of them is hidden.
Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from streamkit.aws.backoff import Backoff, persist
from streamkit.aws.outbox import BATCH
from streamkit.errors import Unanswered
from streamkit.ports import Held

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.aws.call import Call
    from streamkit.ports import Chance

PATIENCE = Backoff(base_seconds=0.2, limit_seconds=5.0, tries=6)
POLL_SECONDS = 1
"""A long poll asks every server of the queue; a short one only some, and may miss letters."""
GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValue",
        "InvalidParameterValueException",  # LocalStack's name of the same
    }
)
"""Why a receipt is good for nothing: the letter is deleted, or in sight again."""


class SqsMailbox:
    """One queue. Passing errors are waited out a few times, then raised."""

    def __init__(self, call: Call, url: str, *, chance: Chance, sight_seconds: int = 120) -> None:
        self._call = call
        self._url = url
        self._chance = chance
        self._sight = sight_seconds

    @property
    def sight_seconds(self) -> float:
        """How long a letter stays out of sight after it was taken, or kept."""
        return float(self._sight)

    async def take(self, most: int) -> Sequence[Held]:
        """Take up to so many letters, 10 at most, out of sight."""
        answer = await self._ask(
            "ReceiveMessage",
            MaxNumberOfMessages=min(most, BATCH),
            VisibilityTimeout=self._sight,
            WaitTimeSeconds=POLL_SECONDS,
        )
        return [Held(each["Body"], each["ReceiptHandle"]) for each in answer.get("Messages", ())]

    async def keep(self, held: Sequence[Held]) -> None:
        """Keep these out of sight, from now on for as long as if they were just taken."""
        await self._change(held, self._sight)

    async def put_back(self, held: Sequence[Held]) -> None:
        """Let these be seen again at once."""
        await self._change(held, 0)

    async def delete(self, held: Sequence[Held]) -> None:
        """Returning means that these are gone for good."""
        await self._each(held, "DeleteMessageBatch", {})

    async def _change(self, held: Sequence[Held], seconds: int) -> None:
        await self._each(held, "ChangeMessageVisibilityBatch", {"VisibilityTimeout": seconds})

    async def _each(self, held: Sequence[Held], operation: str, more: dict[str, Any]) -> None:
        """Do something to each, ten a request; what the queue says it could not do is asked for again."""
        for start in range(0, len(held), BATCH):
            some = held[start : start + BATCH]
            entries = [{"Id": str(n), "ReceiptHandle": each.receipt, **more} for n, each in enumerate(some)]
            await persist(partial(self._batch, operation, entries), backoff=PATIENCE, chance=self._chance)

    async def _batch(self, operation: str, entries: list[dict[str, Any]]) -> None:
        """Send one request. Raises `Unanswered` with nothing left out of `entries` but what is done."""
        answer = await self._call(operation, QueueUrl=self._url, Entries=entries)
        failed = [each for each in answer.get("Failed", ()) if each.get("Code") not in GONE]
        if failed:
            again = {each["Id"] for each in failed}
            entries[:] = [each for each in entries if each["Id"] in again]
            raise Unanswered(f"{operation}: {', '.join(sorted({str(each.get('Code')) for each in failed}))}")

    async def _ask(self, operation: str, **parameters: object) -> dict[str, Any]:
        return await persist(
            lambda: self._call(operation, QueueUrl=self._url, **parameters), backoff=PATIENCE, chance=self._chance
        )
