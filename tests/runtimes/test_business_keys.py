"""An event put twice, on whatever shards, takes effect once, whoever dies on the way (rule 26)."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from streamkit import Poison, Record
from streamkit.core.ledger import Anothers, Claimant, Tenure
from tests.runtimes.cluster import TAKEOVER, Cluster, simulate

AGAIN = 1000
"""A record of this much more is the same event, put again."""


def event_of(record: Record) -> str:
    """Return the business key."""
    return f"event-{record.json() % AGAIN}"


def claimants(cluster: Cluster) -> dict[str, set[str]]:
    """Return which records of each event took effect."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in cluster.handled:
        found[event_of(each.record)].add(each.record.id)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_an_event_on_two_shards_takes_effect_by_one_of_its_records(seed: int) -> None:
    """Both shards go on at once, one owner is killed, and its successor runs what it had claimed."""

    async def main(cluster: Cluster) -> None:
        async def slow(_: Record) -> None:
            await asyncio.sleep(0.4)

        made = cluster.consumer(slow, dedupe_key=event_of, concurrency=4)
        for number in range(40):  # each event, and a few later the same one under another key
            cluster.put(number, keys=7)
            if number >= 5:
                cluster.put(number - 5 + AGAIN, keys=11)
        first, _ = cluster.start(made), cluster.start(made)
        await cluster.until(lambda: len(cluster.handled) >= 15 + seed)
        first.kill()
        ledger = cluster.world.ledger
        await cluster.until(lambda: all(len(claimants(cluster)[f"event-{n}"]) > 0 for n in range(40)))
        await asyncio.sleep(TAKEOVER)
        assert {key: len(ids) for key, ids in claimants(cluster).items()} == {f"event-{n}": 1 for n in range(40)}
        assert {key: {record} for key, record in ledger.held.items()} == claimants(cluster)

    simulate(main, seed=seed, shards=3)


def test_a_claim_is_made_under_the_epoch_of_the_shard() -> None:
    """So what the owner before sends late is refused: neither its claim nor its release changes anything."""

    async def main(cluster: Cluster) -> None:
        async def slow(_: Record) -> None:
            await asyncio.sleep(30)

        made = cluster.consumer(slow, dedupe_key=event_of)
        cluster.put(1)
        ledger = cluster.world.ledger
        first = cluster.start(made)
        await cluster.until(lambda: bool(ledger.claims))
        before = ledger.claims["event-1"].by
        first.kill()
        cluster.start(made)
        await cluster.until(lambda: ledger.claims["event-1"].by != before)
        [row] = cluster.world.table.shard_rows.values()
        after = ledger.claims["event-1"].by
        assert (before.record, before.tenure.epoch + 1) == (after.record, after.tenure.epoch)
        assert after.tenure == Tenure("", row.epoch)
        await ledger.release("event-1", before)
        assert await ledger.claim("event-1", before) == "newer"
        assert await ledger.claim("event-1", Claimant("another")) == Anothers(before.record)

    simulate(main)


def test_a_duplicate_waits_for_nobody() -> None:
    """Its claimant takes a minute on the other shard; meanwhile its own shard goes on, checkpoint and all."""

    async def main(cluster: Cluster) -> None:
        async def slow(record: Record) -> None:
            await asyncio.sleep(60 if record.json() == 0 else 0)

        cluster.put(0)
        cluster.start(cluster.consumer(slow, dedupe_key=event_of))
        await cluster.until(lambda: bool(cluster.world.ledger.claims))
        for number in range(8):  # on both shards
            cluster.world.stream.put(f"another-{number}", AGAIN)
        rows = cluster.world.table.shard_rows
        await cluster.until(lambda: any(row.progress.frontier for row in rows.values()), within=10)
        assert cluster.handled == []

    simulate(main, shards=2)


def test_an_event_whose_record_is_a_dead_letter_may_be_put_again() -> None:
    """The letter is durable, the claim is released, and the repeat takes effect."""

    async def main(cluster: Cluster) -> None:
        async def fussy(record: Record) -> None:
            if record.json() == 1:
                raise Poison("not like this")

        cluster.put(1)
        cluster.start(cluster.consumer(fussy, dedupe_key=event_of))
        await cluster.until(lambda: bool(cluster.world.letters.letters))
        cluster.put(1 + AGAIN)
        await cluster.until_handled(1 + AGAIN)

    simulate(main)
