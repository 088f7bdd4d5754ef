"""Fences, costs and cancellations of the checkpoint table, beyond what the contract says."""

from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.aws.call import Call
from streamkit.aws.errors import Busy, Reason, Rejected, TransactionCancelled
from streamkit.aws.rows import Layout, shard_item
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress
from streamkit.errors import ConfigurationError, Missing, Refused, Throttled, Unanswered, WorldError
from streamkit.testing.contracts.registry import STREAM, WANTED

FREE = ShardRow(Shard("shardId-000000000000"), "TRIM_HORIZON")
CHILDREN = [ShardRow(Shard(f"shardId-00000000000{n}", (FREE.id,)), "TRIM_HORIZON") for n in (1, 2)]


class CountingCall:
    """Counts requests by operation."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.sent: list[str] = []

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Count and send."""
        self.sent.append(operation)
        return await self.call(operation, **parameters)


class FailingCall:
    """Answers every request with one error."""

    def __init__(self, error: WorldError) -> None:
        self.error = error
        self.sent = 0

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Fail."""
        self.sent += 1
        raise self.error


@pytest.fixture
def layout(table: str) -> Layout:
    """Where the rows lie."""
    return Layout.of(table, STREAM, buckets=1)


@pytest.fixture
def counting(dynamodb: Call) -> CountingCall:
    """The way to DynamoDB, counted."""
    return CountingCall(dynamodb)


@pytest.fixture
def leases(counting: CountingCall, layout: Layout) -> TableLeases:
    """Leases over an empty table."""
    return TableLeases(counting, layout)


async def held_by(leases: TableLeases, owner: str) -> ShardRow:
    """Make the row and take it."""
    await leases.add([FREE])
    return await leases.take(FREE, replace(FREE, owner=owner, epoch=1, token="t1"))


def progressed(held: ShardRow, number: int = 7) -> ShardRow:
    """The next checkpoint."""
    progress = Progress(Position(str(number)), Position(str(number + 2)), b"\x05", 1)
    return replace(held, revision=held.revision + 1, token=f"t{number}", progress=progress)


async def test_each_operation_is_one_request(leases: TableLeases, counting: CountingCall) -> None:
    """A clean batch costs one checkpoint, a checkpoint one request, whatever its size (rule 18)."""
    held = await held_by(leases, "worker-a")
    wanted = progressed(held)
    await leases.write(held, wanted)
    await leases.rows()
    ended = replace(wanted, state="ended", owner=None, revision=wanted.revision + 1, token="t9")
    await leases.write(wanted, ended, children=CHILDREN)
    assert counting.sent == ["PutItem", "UpdateItem", "UpdateItem", "Query", "TransactWriteItems"]


async def test_a_heartbeat_is_one_request(counting: CountingCall, layout: Layout) -> None:
    """Writes grow with workers, by one a beat (rule 2)."""
    members = TableMembers(counting, layout)
    await members.join(Member("worker-a"))
    await members.beat(Member("worker-a", counter=1, holds=("shard-1",)))
    await members.bury(Member("worker-a", counter=1))
    assert counting.sent == ["PutItem", "UpdateItem", "UpdateItem"]


@pytest.mark.parametrize("children", [[], CHILDREN], ids=["plain", "with children"])
@pytest.mark.parametrize(
    "stale",
    [
        {"owner": "worker-b"},
        {"owner": None},
        {"epoch": 0},
        {"epoch": 2},
        {"revision": 0},
        {"revision": 2},
    ],
    ids=str,
)
async def test_a_stale_writer_is_fenced(leases: TableLeases, stale: dict[str, Any], children: list[ShardRow]) -> None:
    """Another owner, epoch or revision than the row's: refused, with the row as it stands, nothing changed."""
    held = await held_by(leases, "worker-a")
    guess = replace(held, **stale)
    with pytest.raises(Refused) as refusal:
        await leases.write(guess, progressed(guess), children=children)
    assert refusal.value.row == held
    assert list(await leases.rows()) == [held]


@pytest.mark.parametrize("stale", [{"owner": "worker-b"}, {"owner": None}, {"epoch": 0}, {"epoch": 2}], ids=str)
async def test_a_stale_taker_is_fenced(leases: TableLeases, stale: dict[str, Any]) -> None:
    """A take holds for one owner and epoch only."""
    held = await held_by(leases, "worker-a")
    seen = replace(held, **stale)
    with pytest.raises(Refused) as refusal:
        await leases.take(seen, replace(seen, owner="worker-c", epoch=seen.epoch + 1, token="t2"))
    assert refusal.value.row == held


async def test_what_is_not_ours_on_a_row_survives(
    leases: TableLeases, dynamodb: Call, table: str, layout: Layout
) -> None:
    """A note that a person or a later version left is not wiped out by takes and checkpoints."""
    held = await held_by(leases, "worker-a")
    place = {"TableName": table, "Key": layout.shard_key(FREE.id)}
    await dynamodb(
        "UpdateItem",
        **place,
        UpdateExpression="SET note = :note",
        ExpressionAttributeValues={":note": {"S": "by hand"}},
    )
    await leases.write(held, progressed(held))
    await leases.take(progressed(held), replace(held, owner="worker-b", epoch=2, token="t2"))
    item = (await dynamodb("GetItem", **place))["Item"]
    assert item["note"] == {"S": "by hand"}
    assert item["owner"] == {"S": "worker-b"}


async def test_only_ours_is_written(leases: TableLeases, dynamodb: Call, table: str, layout: Layout) -> None:
    """The item is what the layout says, and no row of shards or workers has a time to live (rule 2)."""
    held = await held_by(leases, "worker-a")
    item = (await dynamodb("GetItem", TableName=table, Key=layout.shard_key(FREE.id)))["Item"]
    assert item == {**layout.shard_key(FREE.id), **shard_item(held)}
    assert "expires" not in item


async def test_rows_are_read_over_many_pages(dynamodb: Call, layout: Layout) -> None:
    """A listing is complete, however DynamoDB cuts it."""

    class PagingCall(CountingCall):
        async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
            limited = {**parameters, "Limit": 7} if operation == "Query" else parameters
            return await super().__call__(operation, **limited)

    paging = PagingCall(dynamodb)
    leases = TableLeases(paging, layout)
    rows = [replace(FREE, shard=Shard(f"shardId-{number:012d}")) for number in range(30)]
    await leases.add(rows)
    assert list(await leases.rows()) == rows
    assert paging.sent.count("Query") == 5


async def test_a_registration_says_where_rows_lie(dynamodb: Call, table: str) -> None:
    """The number of buckets is fixed by whoever was first."""
    wanted = replace(WANTED, buckets=3)
    await TableRegistry(dynamodb, table).register(wanted)
    later = TableRegistry(dynamodb, table)
    assert await later.register(replace(WANTED, buckets=8)) == wanted
    assert await later.layout(STREAM) == Layout.of(table, STREAM, buckets=3)


async def test_an_unused_table_has_no_layout(dynamodb: Call, table: str) -> None:
    """Said in one line."""
    with pytest.raises(ConfigurationError, match="no worker has started on it yet"):
        await TableRegistry(dynamodb, table).existing()


async def test_a_missing_table_says_how_to_make_it(dynamodb: Call, layout: Layout) -> None:
    """For every kind of question."""
    elsewhere = replace(layout, table="streamkit-nowhere")
    member = Member("worker-a")
    for question in (
        TableLeases(dynamodb, elsewhere).rows(),
        TableLeases(dynamodb, elsewhere).add([FREE]),
        TableMembers(dynamodb, elsewhere).beat(member),
        TableRegistry(dynamodb, "streamkit-nowhere").register(WANTED),
    ):
        with pytest.raises(Missing, match=r"streamkit-nowhere.*run `streamkit init MODULE:CONSUMER`"):
            await question


@pytest.mark.parametrize("error", [Throttled("slow down"), Unanswered("silence")])
async def test_a_write_is_sent_exactly_once(error: WorldError) -> None:
    """Doubt is the caller's to resolve: a write sent twice could land twice (rules 1, 5)."""
    silent = FailingCall(error)
    leases = TableLeases(silent, Layout("table", "0", 1))
    held = replace(FREE, owner="worker-a", epoch=1)
    for write in (
        leases.take(FREE, held),
        leases.write(held, progressed(held)),
        leases.write(held, progressed(held), children=CHILDREN),
        leases.add([FREE]),
        TableMembers(silent, Layout("table", "0", 1)).beat(Member("worker-a")),
    ):
        silent.sent = 0
        with pytest.raises(type(error)) as trouble:
            await write
        assert trouble.value is error
        assert silent.sent == 1


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["None", "TransactionConflict", "None"], Busy),
        (["TransactionConflict", "None", "None"], Busy),
        (["None", "ThrottlingError", "None"], Throttled),
        (["ProvisionedThroughputExceeded", "None", "None"], Throttled),
        (["None", "ValidationError", "None"], Rejected),
        (["ConditionalCheckFailed", "TransactionConflict", "None"], Refused),
    ],
)
async def test_a_cancelled_transaction_says_why(codes: list[str], expected: type[Exception]) -> None:
    """Only the parent's condition can lose the shard; a conflict over a child is asked again (rule 12)."""
    reasons = tuple(Reason(code) for code in codes)
    leases = TableLeases(FailingCall(TransactionCancelled(reasons)), Layout("table", "0", 1))
    held = replace(FREE, owner="worker-a", epoch=1)
    with pytest.raises(expected):
        await leases.write(held, progressed(held), children=CHILDREN)


async def test_a_write_that_keeps_the_revision_is_a_slip() -> None:
    """Later conditions could not tell it from the one before."""
    leases = TableLeases(FailingCall(Throttled("never sent")), Layout("table", "0", 1))
    with pytest.raises(ValueError, match="expected shardId-000000000000 with revision 1, got"):
        await leases.write(FREE, FREE)
