"""What each mode costs in DynamoDB, per 1,000 records: the figures of docs/consumers.md."""

from __future__ import annotations

from collections import Counter

import pytest

from streamkit import Record, Transaction
from streamkit.consumer import Consumer
from tests.runtimes.cluster import Cluster, simulate
from tests.runtimes.test_transactions import transactional

RECORDS, KEYS = 1000, 200


def consumer_of(mode: str, cluster: Cluster) -> Consumer:
    """A consumer of this mode whose handler returns at once."""
    if mode == "transactional":
        return transactional(one_write)
    if mode == "dedupe_key":
        return cluster.consumer(dedupe_key=Record.text)
    return cluster.consumer().using(mode=mode)


async def one_write(record: Record, tx: Transaction) -> None:
    """Write one item a record."""
    tx.put("seen", {"id": record.json()})


def measured(mode: str) -> tuple[Counter[str], int]:
    """Return the requests that 1,000 records on one shard took, heartbeats and coordination aside."""

    async def main(cluster: Cluster) -> tuple[Counter[str], int]:
        table = cluster.world.table
        cluster.put(*range(RECORDS), keys=KEYS)
        cluster.world.table.items = type(table.items)({"seen": ["id"]})
        cluster.start(consumer_of(mode, cluster), until_idle=3)
        await cluster.until(cluster.processes[0].task.done)
        return table.requests + Counter(claims=cluster.world.ledger.requests), len(table.items["seen"])

    return simulate(main, latency=lambda: 0.005)


@pytest.mark.parametrize(
    ("mode", "most_writes", "most_commits"),
    [("at_least_once", 3, 0), ("at_most_once", 18, 0), ("transactional", 3, 18)],
)
def test_a_thousand_records_cost_so_many_requests(mode: str, most_writes: int, most_commits: int) -> None:
    """A write is one unit of up to 1 KB; a commit two for the row and two for each item of the consumer's own."""
    requests, items = measured(mode)
    assert 0 < requests["write"] <= most_writes
    assert requests["commit"] <= most_commits
    if mode == "transactional":
        assert items == RECORDS
        assert requests["commit"] >= RECORDS / 99


def test_a_business_key_costs_one_request_a_record() -> None:
    """One write, of one unit, and none when the record is done: the checkpoint says so."""
    requests, _ = measured("dedupe_key")
    assert requests["claims"] == RECORDS
    assert 0 < requests["write"] <= 12
