"""The contract of `streamkit.ports.Registry` (rules 10, 15)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from streamkit.core.lineage import Stream
from streamkit.core.positions import Since
from streamkit.ports import Registration, Registry

STREAM = Stream(
    name="flights",
    arn="arn:aws:kinesis:us-east-1:123456789012:stream/flights",
    incarnation="1356998400.123",
    retention=timedelta(hours=24),
)
WANTED = Registration("flights", STREAM, Since(1_356_998_400.125), buckets=3)


@pytest.mark.contract
@pytest.mark.asyncio
class RegistryContract:
    """Fixture `registry`: the port over a table of its own, without a registration."""

    async def test_the_first_registration_is_recorded(self, registry: Registry) -> None:
        """What was wanted is what is recorded, in every field."""
        assert await registry.register(WANTED) == WANTED

    async def test_what_is_recorded_is_found(self, registry: Registry) -> None:
        """Nothing at first; then the first registration, as often as it is asked for."""
        assert await registry.recorded() is None
        await registry.register(WANTED)
        await registry.register(replace(WANTED, consumer="delays"))
        assert await registry.recorded() == WANTED

    async def test_the_number_of_buckets_is_fixed_by_whoever_was_first(self, registry: Registry) -> None:
        """Rows that lie elsewhere would not be found again (rule 9)."""
        await registry.register(WANTED)
        assert (await registry.register(replace(WANTED, buckets=8))).buckets == 3

    async def test_the_oldest_place_is_a_start_too(self, registry: Registry) -> None:
        """A start is a moment or TRIM_HORIZON; both survive."""
        wanted = replace(WANTED, start="TRIM_HORIZON")
        await registry.register(wanted)
        assert await registry.register(WANTED) == wanted

    async def test_the_start_is_resolved_once(self, registry: Registry) -> None:
        """A later start does not replace the first one: between the two records would be lost (rule 15)."""
        await registry.register(WANTED)
        later = replace(WANTED, start=Since(1_400_000_000.0))
        assert await registry.register(later) == WANTED
        assert await registry.register(later) == WANTED

    async def test_another_consumer_or_stream_finds_what_is_recorded(self, registry: Registry) -> None:
        """The caller compares: it gets the recorded identity, and changes nothing (rule 10)."""
        await registry.register(WANTED)
        assert await registry.register(replace(WANTED, consumer="delays")) == WANTED
        reborn = replace(STREAM, incarnation="1400000000.0")
        assert await registry.register(replace(WANTED, stream=reborn)) == WANTED
