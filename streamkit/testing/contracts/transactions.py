"""The contract of `streamkit.ports.Transactions` (rule 25)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from streamkit.core.attributes import image
from streamkit.core.leasing import ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress
from streamkit.core.transactions import Write, as_read
from streamkit.engine.transaction import Transaction
from streamkit.errors import Cancelled, Refused
from streamkit.ports import Leases, Transactions
from streamkit.testing.contracts.checks import fresh


@pytest.mark.contract
@pytest.mark.asyncio
class TransactionsContract:
    """Fixtures `leases` and `transactions` over one table, and `items`: the name of a table whose key is `id`."""

    async def test_writes_and_row_take_effect_together(
        self, leases: Leases, transactions: Transactions, items: str
    ) -> None:
        """Every kind of write, with the row's new progress."""
        held = await a_lease(leases)
        first = Transaction(transactions)
        first.put(items, {"id": held.id, "n": 1, "tags": {"a", "b"}, "raw": b"\x00", "half": Decimal("0.5")})
        first.put(items, {"id": f"{held.id}/gone"})
        held = await committed(transactions, held, first)
        second = Transaction(transactions)
        second.update(
            items, {"id": held.id}, "ADD n :two REMOVE half SET more = :l", values={":two": 2, ":l": [1, None]}
        )
        second.delete(items, {"id": f"{held.id}/gone"})
        second.check(items, {"id": f"{held.id}/never"}, "attribute_not_exists(id)")
        held = await committed(transactions, held, second)
        assert await the_row(leases, held.id) == held
        reading = Transaction(transactions)
        assert await reading.get(items, {"id": f"{held.id}/gone"}) is None
        assert await reading.get(items, {"id": held.id}) == {
            "id": held.id, "n": 3, "tags": {"a", "b"}, "raw": b"\x00", "more": [1, None],
        }  # fmt: skip

    async def test_a_stale_lease_writes_nothing(self, leases: Leases, transactions: Transactions, items: str) -> None:
        """Another epoch or revision: the whole transaction is refused, and the row as it stands is shown."""
        held = await a_lease(leases)
        stolen = await leases.take(held, replace(held, owner="thief", epoch=held.epoch + 1, token="theirs"))
        with pytest.raises(Refused) as refused:
            await transactions.commit(held, later(held), [a_write(items, held)])
        assert refused.value.row == stolen
        assert await transactions.read(items, image({"id": held.id}), None) is None

    async def test_a_condition_that_fails_cancels_all_and_is_named(
        self, leases: Leases, transactions: Transactions, items: str
    ) -> None:
        """By the place of its write; the row stands as it was, and may be committed upon."""
        held = await a_lease(leases)
        bad = replace(a_write(items, held, "/bad"), condition=as_read(image({"id": "x"}), {}, None, number=0))
        with pytest.raises(Cancelled) as cancelled:
            await transactions.commit(held, later(held), [a_write(items, held), bad])
        assert dict(cancelled.value.causes) == {1: "ConditionalCheckFailed"}
        assert await the_row(leases, held.id) == held
        assert await transactions.read(items, image({"id": held.id}), None) is None
        await transactions.commit(held, later(held), [a_write(items, held)])

    async def test_the_same_request_again_takes_effect_once(
        self, leases: Leases, transactions: Transactions, items: str
    ) -> None:
        """It answers as before, or shows a row that has its token: the caller then knows that it was applied."""
        held = await a_lease(leases)
        wanted = later(held)
        add = replace(a_write(items, held), kind="update", item={}, update="ADD n :one")
        add = replace(add, condition=replace(add.condition, values=image({":one": 1})))
        await transactions.commit(held, wanted, [add])
        assert await again(transactions, held, wanted, add) in (None, wanted)
        found = await transactions.read(items, image({"id": held.id}), ["n"])
        assert found == image({"id": held.id, "n": 1})

    async def test_what_was_read_is_held_to_be_so(self, leases: Leases, transactions: Transactions, items: str) -> None:
        """Equal, missing, or not there at all: a change of any of them cancels; a change elsewhere does not."""
        held = await a_lease(leases)
        seed = Transaction(transactions)
        seed.put(items, {"id": held.id, "n": 1, "o": 1})
        held = await committed(transactions, held, seed)
        reading = Transaction(transactions)
        await reading.get(items, {"id": held.id}, attributes=["n", "late"])
        await reading.get(items, {"id": f"{held.id}/absent"})
        checks = await reading.collected()
        for change, fails in (("SET o = :v", False), ("SET n = :v", True), ("SET n = :v, late = :v", True)):
            held = await committed(transactions, held, changing(transactions, items, held.id, change))
            cancelled = await is_cancelled(transactions, held, checks)
            assert cancelled == fails, change
            held = held if cancelled else await the_row(leases, held.id)

    async def test_a_tables_key_is_known(self, transactions: Transactions, items: str) -> None:
        """By the names of its attributes, so that a put is known by its item."""
        assert list(await transactions.key_names(items)) == ["id"]


def changing(transactions: Transactions, items: str, key: str, update: str) -> Transaction:
    """Return a transaction of one update."""
    tx = Transaction(transactions)
    tx.update(items, {"id": key}, update, values={":v": 7})
    return tx


def a_write(items: str, held: ShardRow, suffix: str = "") -> Write:
    """Return a put of an item named after the shard."""
    key = image({"id": held.id + suffix})
    return Write("put", items, key, item=key)


async def a_lease(leases: Leases) -> ShardRow:
    """Make a shard's row and take it."""
    row = ShardRow(Shard(fresh("shard"), (), (0, 9)), "TRIM_HORIZON")
    await leases.add([row])
    return await leases.take(row, replace(row, owner="me", epoch=1, token=fresh("token")))


def later(held: ShardRow) -> ShardRow:
    """Return the row after a commit."""
    progress = Progress(Position(str(held.revision + 1)))
    return replace(held, revision=held.revision + 1, token=fresh("t")[:30], progress=progress)


async def committed(transactions: Transactions, held: ShardRow, tx: Transaction) -> ShardRow:
    """Commit what a handler collected; return the row as it is then."""
    wanted = later(held)
    await transactions.commit(held, wanted, await tx.collected())
    return wanted


async def again(transactions: Transactions, held: ShardRow, wanted: ShardRow, write: Write) -> ShardRow | None:
    """Send a commit once more; return the row that it was refused for, if it was."""
    try:
        await transactions.commit(held, wanted, [write])
    except Cancelled:
        raise
    except Refused as refused:
        return refused.row
    return None


async def is_cancelled(transactions: Transactions, held: ShardRow, writes: tuple[Write, ...]) -> bool:
    """Try to commit; say whether it was cancelled."""
    try:
        await transactions.commit(held, later(held), writes)
    except Cancelled:
        return True
    return False


async def the_row(leases: Leases, shard: str) -> ShardRow:
    """Return the row of a shard."""
    return next(row for row in await leases.rows() if row.id == shard)
