"""The contract of `streamkit.ports.DeadLetters` (rule 28)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import pytest
from msgspec.structs import replace

from streamkit.core.letters import Cause, Letter
from streamkit.errors import Undelivered
from streamkit.ports import DeadLetters
from streamkit.testing.builders import letter, record
from streamkit.testing.contracts.checks import fresh

if TYPE_CHECKING:
    from collections.abc import Sequence


class QueueDriver(Protocol):
    """The other side of the queue, for the suite."""

    async def delivered(self) -> Sequence[tuple[str, bytes]]:
        """Return (`Record.id`, payload) of every letter in the queue, repeats included."""
        ...

    def refuse(self, letters: int) -> None:
        """Let the queue refuse for good that many of the letters sent next, and take the others."""
        ...


@pytest.mark.contract
@pytest.mark.asyncio
class DeadLettersContract:
    """Fixtures `dead_letters`: the port; `queue`: a `QueueDriver` of its queue."""

    async def test_returning_means_the_letter_is_durable(self, dead_letters: DeadLetters, queue: QueueDriver) -> None:
        """It is in the queue at that moment, with its payload."""
        one = a_letter(b'{"dep_delay": 4}')
        await dead_letters.send([one])
        assert (one.record.id, one.record.data) in await queue.delivered()

    @pytest.mark.parametrize("count", [9, 10, 11, 25])
    async def test_any_number_of_letters_arrives_once_each(
        self, dead_letters: DeadLetters, queue: QueueDriver, count: int
    ) -> None:
        """However the service cuts its batches: all of them, once each where nothing goes wrong."""
        letters = [a_letter(str(number).encode()) for number in range(count)]
        await dead_letters.send(letters)
        assert await arrived(queue, letters) == {one.record.id: 1 for one in letters}

    @pytest.mark.parametrize("data", [b"", bytes(range(256)), "\N{SKULL}".encode(), b"\x00\xff\xfe</x>&"])
    async def test_any_payload_arrives_byte_for_byte(
        self, dead_letters: DeadLetters, queue: QueueDriver, data: bytes
    ) -> None:
        """Queues take text of some characters only; payloads are whatever producers put."""
        one = a_letter(data)
        await dead_letters.send([one])
        assert dict(await queue.delivered())[one.record.id] == data

    async def test_an_odd_key_and_a_long_cause_are_no_hindrance(
        self, dead_letters: DeadLetters, queue: QueueDriver
    ) -> None:
        """What goes wrong with a record is as odd as the record."""
        plain = a_letter(b"x", key="\x00 \N{SKULL} \ud7ff" * 20)
        cause = Cause("builtins.ValueError", "\x00\x1b[31m" + "m" * 5000, "t" * 5000)
        odd = replace(plain, verdict=replace(plain.verdict, reason="\x07 no", attempts=9, cause=cause))
        await dead_letters.send([odd])
        assert (odd.record.id, b"x") in await queue.delivered()

    async def test_sending_nothing_is_allowed(self, dead_letters: DeadLetters) -> None:
        """No letters, no request, no error."""
        await dead_letters.send([])


@pytest.mark.contract
@pytest.mark.asyncio
class RefusalsContract:
    """What holds when the queue takes some letters only. Fixtures as of `DeadLettersContract`.

    The letters are of different keys: where a key's letters keep their order, the first refused holds up the rest.
    """

    async def test_the_refused_are_named_and_the_others_durable(
        self, dead_letters: DeadLetters, queue: QueueDriver
    ) -> None:
        """Every letter is either in the queue or named by the error, as it was given."""
        letters = [a_letter(str(number).encode(), key=f"N{number}") for number in range(7)]
        queue.refuse(3)
        with pytest.raises(Undelivered) as trouble:
            await dead_letters.send(letters)
        refused = {one.record.id for one in trouble.value.letters}
        taken = await arrived(queue, letters)
        assert len(refused) == 3
        assert refused | taken.keys() == {one.record.id for one in letters}
        assert not refused & taken.keys()
        assert all(one in letters for one in trouble.value.letters)

    async def test_sending_the_refused_again_completes_the_delivery(
        self, dead_letters: DeadLetters, queue: QueueDriver
    ) -> None:
        """After that every letter is there once."""
        letters = [a_letter(str(number).encode(), key=f"N{number}") for number in range(5)]
        queue.refuse(2)
        with pytest.raises(Undelivered) as trouble:
            await dead_letters.send(letters)
        await dead_letters.send(trouble.value.letters)
        assert await arrived(queue, letters) == {one.record.id: 1 for one in letters}


def a_letter(data: bytes, *, key: str = "N14228") -> Letter:
    """Return the letter of a record nobody else has, so that queues may be shared."""
    return letter(record(data, key=key, shard=fresh("shardId")))


async def arrived(queue: QueueDriver, letters: Sequence[Letter]) -> Counter[str]:
    """Count how often each of the letters is in the queue."""
    ours = {one.record.id for one in letters}
    return Counter(found for found, _ in await queue.delivered() if found in ours)
