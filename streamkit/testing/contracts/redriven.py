"""The contracts of `streamkit.ports.Redriven` and `streamkit.ports.Mailbox` (rule 30)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from streamkit.ports import Mailbox, Redriven
from streamkit.testing.contracts.checks import fresh

WITHIN = 60.0


@pytest.mark.contract
@pytest.mark.asyncio
class RedrivenContract:
    """Fixtures `redriven`: the port; `pass_by`: a call after which so many seconds are over."""

    async def test_a_record_nobody_began_is_mine_and_stays_so(self, redriven: Redriven) -> None:
        """Every attempt of a run begins it anew."""
        record = fresh("record")
        assert [await redriven.begin(record, run="a", within=WITHIN) for _ in range(2)] == ["mine", "mine"]

    async def test_another_run_is_told_that_it_is_busy(
        self, redriven: Redriven, pass_by: Callable[[float], None]
    ) -> None:
        """Until the first run's time is over: then that one has crashed."""
        record = fresh("record")
        await redriven.begin(record, run="a", within=WITHIN)
        assert await redriven.begin(record, run="b", within=WITHIN) == "busy"
        pass_by(WITHIN + 3)
        assert await redriven.begin(record, run="b", within=WITHIN) == "mine"
        assert await redriven.begin(record, run="a", within=WITHIN) == "busy"

    async def test_what_is_done_is_done_for_every_run(
        self, redriven: Redriven, pass_by: Callable[[float], None]
    ) -> None:
        """Whose it was, and however much later."""
        record = fresh("record")
        await redriven.begin(record, run="a", within=WITHIN)
        await redriven.done(record, run="a")
        pass_by(WITHIN + 3)
        assert [await redriven.begin(record, run=run, within=WITHIN) for run in ("a", "b")] == ["done", "done"]

    async def test_an_abandoned_record_is_anybodys(self, redriven: Redriven) -> None:
        """It failed: the next run need not wait."""
        record = fresh("record")
        await redriven.begin(record, run="a", within=WITHIN)
        await redriven.abandon(record, run="a")
        assert await redriven.begin(record, run="b", within=WITHIN) == "mine"

    async def test_nobody_abandons_what_is_anothers_or_done(self, redriven: Redriven) -> None:
        """It is no error, and nothing happens."""
        busy, done = fresh("record"), fresh("record")
        await redriven.begin(busy, run="a", within=WITHIN)
        await redriven.abandon(busy, run="b")
        await redriven.done(done, run="a")
        await redriven.abandon(done, run="a")
        await redriven.abandon(fresh("record"), run="a")
        assert await redriven.begin(busy, run="b", within=WITHIN) == "busy"
        assert await redriven.begin(done, run="b", within=WITHIN) == "done"


@pytest.mark.contract
@pytest.mark.asyncio
class MailboxContract:
    """Fixtures `mailbox`: an empty queue; `put`: an asynchronous call that puts in so many letters."""

    async def test_an_empty_queue_shows_nothing(self, mailbox: Mailbox) -> None:
        """After a moment."""
        assert list(await mailbox.take(10)) == []

    async def test_what_is_taken_is_out_of_sight_until_it_is_put_back(
        self, mailbox: Mailbox, put: Callable[[int], Awaitable[object]]
    ) -> None:
        """Each letter is given to one, whole."""
        await put(3)
        taken = [*await mailbox.take(2), *await mailbox.take(10)]
        assert len({each.body for each in taken}) == 3
        assert list(await mailbox.take(10)) == []
        await mailbox.keep(taken)
        await mailbox.put_back(taken)
        again = [*await mailbox.take(10), *await mailbox.take(10)]
        assert {each.body for each in again} == {each.body for each in taken}

    async def test_what_is_deleted_is_gone(self, mailbox: Mailbox, put: Callable[[int], Awaitable[object]]) -> None:
        """And may be deleted, kept and put back again without harm."""
        await put(12)
        taken = [*await mailbox.take(10), *await mailbox.take(10)]
        assert len(taken) == 12
        await mailbox.delete(taken[:11])
        await mailbox.delete(taken[:1])
        await mailbox.keep(taken)
        await mailbox.put_back(taken)
        [last] = await mailbox.take(10)
        assert last.body == taken[11].body
