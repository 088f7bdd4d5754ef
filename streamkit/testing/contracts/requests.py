"""The contract of `streamkit.ports.Requests`: what an operator asks costs the owner nothing."""

from __future__ import annotations

from typing import Protocol

import pytest
from msgspec.structs import replace

from streamkit.core.leasing import ShardRow
from streamkit.errors import Refused
from streamkit.ports import Leases, Requests
from streamkit.testing.contracts.leases import a_row, taken, the_row


class Table(Leases, Requests, Protocol):
    """A table that takes requests."""


@pytest.mark.contract
@pytest.mark.asyncio
class RequestsContract:
    """Fixture `leases`: a table that is `Leases` and `Requests`."""

    async def test_a_request_is_read_with_the_row_and_costs_no_revision(self, leases: Table) -> None:
        """The owner's next write holds, and leaves the request where it is."""
        held = await _held(leases)
        await leases.ask(held, "paused by an operator")
        assert await the_row(leases, held.id) == replace(held, asked="paused by an operator")
        wanted = replace(held, revision=held.revision + 1, token="t2")
        await leases.write(held, wanted)
        assert (await the_row(leases, held.id)).asked == "paused by an operator"

    async def test_a_request_lapses_with_the_epoch(self, leases: Table) -> None:
        """A successor was not asked."""
        held = await _held(leases)
        await leases.ask(held, "paused by an operator")
        later = await leases.take(held, replace(held, owner="worker-b", epoch=held.epoch + 1, token="t3"))
        assert (later.asked, (await the_row(leases, held.id)).asked) == (None, None)

    async def test_a_request_to_who_is_not_the_owner_any_more_is_refused(self, leases: Table) -> None:
        """With the row as it stands."""
        held = await _held(leases)
        later = await leases.take(held, replace(held, owner="worker-b", epoch=held.epoch + 1, token="t3"))
        with pytest.raises(Refused) as refused:
            await leases.ask(held, "paused by an operator")
        assert refused.value.row == later


async def _held(leases: Leases) -> ShardRow:
    row = a_row()
    await leases.add([row])
    return await taken(leases, row, by="worker-a")
