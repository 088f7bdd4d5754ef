"""The contract of `streamkit.ports.Payloads` (rule 29)."""

from __future__ import annotations

from hashlib import sha256

import pytest
from msgspec.structs import replace

from streamkit.core.kept import MAX_PAYLOAD, Kept, Lost, kept
from streamkit.ports import Payloads
from streamkit.testing.contracts.checks import fresh


def place(payloads: Payloads, payload: bytes) -> Kept:
    """Return where a payload goes."""
    found = kept(payload, bucket=payloads.bucket, consumer="consumer", name=fresh("name"))
    assert found is not None
    return found


@pytest.mark.contract
@pytest.mark.asyncio
class PayloadsContract:
    """Fixture `payloads`: the port."""

    @pytest.mark.parametrize("size", [1, 300_000, MAX_PAYLOAD], ids=["small", "usual", "the largest"])
    async def test_what_was_kept_is_fetched_to_the_byte(self, payloads: Payloads, size: int) -> None:
        """And any number of times, up to the largest record that there is."""
        payload = bytes(range(256)) * (size // 256) + b"\xff" * (size % 256)
        at = place(payloads, payload)
        await payloads.keep(at, payload)
        assert [await payloads.fetch(at) == payload for _ in range(2)] == [True, True]

    async def test_to_keep_it_again_does_no_harm(self, payloads: Payloads) -> None:
        """As whoever did not hear the answer does."""
        at = place(payloads, b"payload")
        for _ in range(2):
            await payloads.keep(at, b"payload")
        assert await payloads.fetch(at) == b"payload"

    async def test_what_is_not_there_is_lost(self, payloads: Payloads) -> None:
        """It says where it should have been."""
        at = place(payloads, b"payload")
        with pytest.raises(Lost, match=f"{at.key}: expected the payload of a letter, got no such object"):
            await payloads.fetch(at)

    @pytest.mark.parametrize("there", [b"", b"another", b"pay", b"payload and more"])
    async def test_another_object_is_not_handed_out(self, payloads: Payloads, there: bytes) -> None:
        """Of the same size, smaller, larger or empty."""
        at = place(payloads, b"payload")
        await payloads.keep(Kept(at.bucket, at.key, len(there), sha256(there).hexdigest()), there)
        with pytest.raises(Lost):
            await payloads.fetch(at)

    async def test_another_bucket_is_not_asked(self, payloads: Payloads) -> None:
        """What a letter says is a stranger's word: only the consumer's own bucket is read."""
        at = place(payloads, b"payload")
        await payloads.keep(at, b"payload")
        with pytest.raises(Lost, match="elsewhere"):
            await payloads.fetch(replace(at, bucket="of-somebody-else"))
