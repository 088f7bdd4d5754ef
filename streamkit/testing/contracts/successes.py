"""The contract of `streamkit.ports.Successes`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import pytest

from streamkit.core.successes import Success
from streamkit.errors import Untold
from streamkit.ports import Successes
from streamkit.testing.builders import record
from streamkit.testing.contracts.checks import fresh

if TYPE_CHECKING:
    from collections.abc import Sequence


class SuccessesDriver(Protocol):
    """The other side of the queue, for the suite."""

    async def delivered(self) -> Sequence[tuple[str, bytes]]:
        """Return (`Record.id`, payload) of every success in the queue, repeats included."""
        ...

    def refuse(self, letters: int) -> None:
        """Let the queue refuse for good that many of those sent next, and take the others."""
        ...


@pytest.mark.contract
@pytest.mark.asyncio
class SuccessesContract:
    """Fixtures `successes`: the port; `queue`: a `SuccessesDriver` of its queue."""

    @pytest.mark.parametrize("count", [1, 10, 25])
    async def test_returning_means_that_each_is_durable(
        self, successes: Successes, queue: SuccessesDriver, count: int
    ) -> None:
        """In the queue at that moment, once where nothing goes wrong, however the service cuts its batches."""
        sent = [a_success(str(number).encode()) for number in range(count)]
        await successes.send(sent)
        assert await arrived(queue, sent) == {each.record.id: 1 for each in sent}

    @pytest.mark.parametrize("data", [b"", bytes(range(256)), b"\x00\xff\xfe</x>&"])
    async def test_any_payload_and_key_arrive_as_they_were(
        self, successes: Successes, queue: SuccessesDriver, data: bytes
    ) -> None:
        """Queues take text of some characters only."""
        one = a_success(data, key="\x00 \N{SKULL} \ud7ff" * 20)
        await successes.send([one])
        assert dict(await queue.delivered())[one.record.id] == data

    async def test_the_refused_are_named_and_the_others_durable(
        self, successes: Successes, queue: SuccessesDriver
    ) -> None:
        """Sending those again completes it. They are of different keys: one may hold up what follows under its key."""
        sent = [a_success(str(number).encode(), key=f"N{number}") for number in range(7)]
        queue.refuse(3)
        with pytest.raises(Untold) as trouble:
            await successes.send(sent)
        assert len(trouble.value.successes) == 3
        assert all(each in sent for each in trouble.value.successes)
        await successes.send(trouble.value.successes)
        assert await arrived(queue, sent) == {each.record.id: 1 for each in sent}

    async def test_sending_nothing_is_allowed(self, successes: Successes) -> None:
        """No request, no error."""
        await successes.send([])


def a_success(data: bytes, *, key: str = "N14228") -> Success:
    """Return the success of a record nobody else has, so that queues may be shared."""
    return Success(record(data, key=key, shard=fresh("shardId")), "flights", "v7", "arn:aws:kinesis:::stream/x", 0.0)


async def arrived(queue: SuccessesDriver, sent: Sequence[Success]) -> Counter[str]:
    """Count how often each of these is in the queue."""
    ours = {each.record.id for each in sent}
    return Counter(found for found, _ in await queue.delivered() if found in ours)
