"""The contract of `streamkit.ports.Ledger` (rule 26)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamkit.ports import Ledger
from streamkit.testing.contracts.checks import fresh


@pytest.mark.contract
@pytest.mark.asyncio
class LedgerContract:
    """Fixtures `ledger`: the port; `expire`: a call after which every claim made so far has expired."""

    async def test_a_new_key_is_the_first_claimants(self, ledger: Ledger) -> None:
        """Nobody knew it before."""
        assert await ledger.claim(fresh("key"), claimant="record-1") is True

    async def test_another_claimant_is_a_duplicate(self, ledger: Ledger) -> None:
        """The same event put twice: the second record is refused, again and again."""
        key = fresh("key")
        await ledger.claim(key, claimant="record-1")
        assert await ledger.claim(key, claimant="record-2") is False
        assert await ledger.claim(key, claimant="record-2") is False

    async def test_the_same_claimant_may_claim_again(self, ledger: Ledger) -> None:
        """After a crash the record runs again: its own claim does not make it a duplicate."""
        key = fresh("key")
        await ledger.claim(key, claimant="record-1")
        await ledger.claim(key, claimant="record-2")
        assert await ledger.claim(key, claimant="record-1") is True

    async def test_keys_are_independent(self, ledger: Ledger) -> None:
        """One claimant's key says nothing about another key, however alike or odd they are."""
        stem = fresh("key")
        for key in (stem, f"{stem} ", f"{stem}/2013-01-01|\N{AIRPLANE}"):
            assert await ledger.claim(key, claimant="record-1") is True
            assert await ledger.claim(key, claimant="record-2") is False

    async def test_an_expired_claim_is_no_claim(self, ledger: Ledger, expire: Callable[[], None]) -> None:
        """Its time decides, not whether the service has swept it away yet."""
        key = fresh("key")
        await ledger.claim(key, claimant="record-1")
        expire()
        assert await ledger.claim(key, claimant="record-2") is True
        assert await ledger.claim(key, claimant="record-1") is False

    async def test_a_released_key_is_free(self, ledger: Ledger) -> None:
        """A dead letter releases the claim: a later repeat is handled."""
        key = fresh("key")
        await ledger.claim(key, claimant="record-1")
        await ledger.release(key, claimant="record-1")
        assert await ledger.claim(key, claimant="record-2") is True

    async def test_nobody_releases_the_claim_of_another(self, ledger: Ledger) -> None:
        """It is no error, and nothing happens."""
        key = fresh("key")
        await ledger.claim(key, claimant="record-1")
        await ledger.release(key, claimant="record-2")
        assert await ledger.claim(key, claimant="record-2") is False

    async def test_releasing_what_was_never_claimed_is_allowed(self, ledger: Ledger) -> None:
        """A release whose answer was lost may be sent again."""
        await ledger.release(fresh("key"), claimant="record-1")
