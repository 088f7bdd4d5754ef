"""The contract of `streamkit.ports.Ledger` (rule 26)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamkit.core.ledger import Anothers, Claimant, Tenure
from streamkit.ports import Ledger
from streamkit.testing.contracts.checks import fresh

FIRST, SECOND = Claimant("record-1", Tenure("", 7)), Claimant("record-2", Tenure("", 3))
SUCCESSOR = Claimant("record-1", Tenure("", 8))
"""The same record, run by the shard's next owner."""
REPLAYED = Claimant("record-1", Tenure("replay", 1))
"""The same record, run by others who count epochs of their own."""


@pytest.mark.contract
@pytest.mark.asyncio
class LedgerContract:
    """Fixtures `ledger`: the port; `expire`: a call after which every claim made so far has expired."""

    async def test_a_new_key_is_the_first_claimants(self, ledger: Ledger) -> None:
        """Nobody knew it before."""
        assert await ledger.claim(fresh("key"), FIRST) == "mine"

    async def test_another_record_is_a_duplicate(self, ledger: Ledger) -> None:
        """The same event put twice: the second one is refused whatever its epoch, and told of the first one."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        for epoch in (3, 7, 9):
            assert await ledger.claim(key, Claimant("record-2", Tenure("", epoch))) == Anothers("record-1")

    async def test_the_same_record_may_claim_again(self, ledger: Ledger) -> None:
        """It is tried again, and runs again after a crash: its own claim does not make it a duplicate."""
        key = fresh("key")
        for by in (FIRST, FIRST, SUCCESSOR, SUCCESSOR, REPLAYED, REPLAYED):
            assert await ledger.claim(key, by) == "mine"
            assert await ledger.claim(key, SECOND) == Anothers("record-1")

    async def test_an_owner_that_lost_the_shard_claims_nothing(self, ledger: Ledger) -> None:
        """Its record is being run by the successor, and it is told so: not that the record were a duplicate."""
        key = fresh("key")
        await ledger.claim(key, SUCCESSOR)
        assert await ledger.claim(key, FIRST) == "newer"
        assert await ledger.claim(key, SUCCESSOR) == "mine"

    async def test_an_owner_that_lost_the_shard_releases_nothing(self, ledger: Ledger) -> None:
        """A release that arrives late must not free the key of a record that has since been handled."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        await ledger.claim(key, SUCCESSOR)
        await ledger.release(key, FIRST)
        assert await ledger.claim(key, SECOND) == Anothers("record-1")
        await ledger.claim(key, REPLAYED)
        await ledger.release(key, SUCCESSOR)
        assert await ledger.claim(key, SECOND) == Anothers("record-1")

    async def test_keys_are_independent(self, ledger: Ledger) -> None:
        """One claimant's key says nothing about another key, however alike or odd they are."""
        stem = fresh("key")
        for key in (stem, f"{stem} ", f"{stem}/2013-01-01|\N{AIRPLANE}"):
            assert await ledger.claim(key, FIRST) == "mine"
            assert await ledger.claim(key, SECOND) == Anothers("record-1")

    async def test_an_expired_claim_is_no_claim(self, ledger: Ledger, expire: Callable[[], None]) -> None:
        """Its time decides, not whether the service has swept it away yet."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        expire()
        assert await ledger.claim(key, SECOND) == "mine"
        assert await ledger.claim(key, FIRST) == Anothers("record-2")

    async def test_a_released_key_is_free_for_others(self, ledger: Ledger) -> None:
        """A dead letter releases the claim: a later repeat is handled. Said twice, it is no error."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        for _ in range(2):
            await ledger.release(key, FIRST)
        assert await ledger.claim(key, SECOND) == "mine"
        assert await ledger.claim(key, FIRST) == Anothers("record-2")

    async def test_what_a_successor_condemns_untried_is_released_too(self, ledger: Ledger) -> None:
        """A record that ended its process twice is a dead letter without another claim."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        await ledger.release(key, SUCCESSOR)
        assert await ledger.claim(key, SECOND) == "mine"

    async def test_a_claim_that_arrives_after_its_release_comes_to_nothing(self, ledger: Ledger) -> None:
        """A request sent twice, or late: the record is a dead letter, and its event may be had by another."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        await ledger.release(key, FIRST)
        assert await ledger.claim(key, FIRST) == "newer"
        assert await ledger.claim(key, SECOND) == "mine"

    async def test_a_released_record_may_run_again_under_a_newer_tenure(self, ledger: Ledger) -> None:
        """The owner died before the letter was durable; or the letter is redriven."""
        for by in (SUCCESSOR, REPLAYED):
            key = fresh("key")
            await ledger.claim(key, FIRST)
            await ledger.release(key, FIRST)
            assert await ledger.claim(key, by) == "mine"
            assert await ledger.claim(key, SECOND) == Anothers("record-1")

    async def test_nobody_releases_the_claim_of_another(self, ledger: Ledger) -> None:
        """It is no error, and nothing happens."""
        key = fresh("key")
        await ledger.claim(key, FIRST)
        await ledger.release(key, Claimant("record-2", Tenure("", 9)))
        assert await ledger.claim(key, SECOND) == Anothers("record-1")

    async def test_releasing_what_was_never_claimed_is_allowed(self, ledger: Ledger) -> None:
        """Most records that are condemned before they are tried never claimed anything."""
        key = fresh("key")
        await ledger.release(key, FIRST)
        assert await ledger.claim(key, SECOND) == "mine"
