"""The requests of transactions, and what their ends mean."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.aws.errors import Busy, Reason, Rejected, TransactionCancelled
from streamkit.aws.rows import Layout
from streamkit.aws.transaction import DynamoDBTables
from streamkit.clock import SystemChance
from streamkit.core.attributes import image
from streamkit.core.leasing import ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.transactions import Expression, Write
from streamkit.errors import Cancelled, Refused, Throttled

LAYOUT = Layout("table", "0123456789ab", 1)
HELD = ShardRow(Shard("shard", (), (0, 9)), "TRIM_HORIZON", owner="me", epoch=3, revision=7, token="t" * 32)
WANTED = replace(HELD, revision=8, token="u" * 32)
WRITE = Write("put", "items", image({"id": 1}), item=image({"id": 1, "raw": b"\x00"}))


class RecordingCall:
    """Answers with one error, if any, and keeps what was asked."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[dict[str, Any]] = []
        self._errors = list(errors)

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Note the request."""
        self.asked.append({"": operation, **parameters})
        if self._errors:
            raise self._errors.pop(0)
        return {}


def cancelled(*codes: str) -> TransactionCancelled:
    """What DynamoDB answers, an operation each."""
    return TransactionCancelled(tuple(Reason(code) for code in codes))


async def test_a_commit_is_conditional_on_owner_epoch_and_revision_and_the_same_to_the_byte() -> None:
    """One request, with the token of the row; sent again it is the same."""
    call = RecordingCall()
    tables = DynamoDBTables(call, LAYOUT, chance=SystemChance())
    for _ in range(2):
        await tables.commit(HELD, WANTED, [WRITE])
    first, second = call.asked
    assert first == second
    assert first["ClientRequestToken"] == WANTED.token
    row, write = first["TransactItems"]
    assert (
        row["Update"]["ConditionExpression"]
        == "#owner = :was_owner AND #epoch = :was_epoch AND #revision = :was_revision"
    )
    values = row["Update"]["ExpressionAttributeValues"]
    assert [values[f":was_{name}"] for name in ("owner", "epoch", "revision")] == [{"S": "me"}, {"N": "3"}, {"N": "7"}]
    assert write == {"Put": {"TableName": "items", "Item": {"id": {"N": "1"}, "raw": {"B": b"\x00"}}}}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (("ConditionalCheckFailed", "None", "ConditionalCheckFailed"), Refused),
        (("None", "TransactionConflict", "None"), Busy),
        (("None", "ThrottlingError", "None"), Throttled),
        (("None", "None", "None"), Rejected),
    ],
)
async def test_an_end_says_what_may_be_done(codes: tuple[str, ...], expected: type[Exception]) -> None:
    """The row's own condition outweighs all; conflict and throttling are no write's fault."""
    tables = DynamoDBTables(RecordingCall(cancelled(*codes)), LAYOUT, chance=SystemChance())
    with pytest.raises(expected) as ended:
        await tables.commit(HELD, WANTED, [WRITE, WRITE])
    assert not isinstance(ended.value, Cancelled)


async def test_the_writes_to_blame_are_named_by_their_place() -> None:
    """Conflicts beside them are not counted: the next transaction meets them again, or does not."""
    end = cancelled("None", "TransactionConflict", "ConditionalCheckFailed", "ValidationError")
    tables = DynamoDBTables(RecordingCall(end), LAYOUT, chance=SystemChance())
    with pytest.raises(Cancelled) as refused:
        await tables.commit(HELD, WANTED, [WRITE, WRITE, WRITE])
    assert dict(refused.value.causes) == {1: "ConditionalCheckFailed", 2: "ValidationError"}


async def test_reads_are_consistent_and_bring_the_key_with_what_was_asked() -> None:
    """An item without any of these attributes is told from one that is not there."""
    call = RecordingCall(Throttled("busy"))
    tables = DynamoDBTables(call, LAYOUT, chance=SystemChance())
    assert await tables.read("items", image({"id": 1}), ["n", "id"]) is None
    asked = call.asked[-1]
    assert asked["ConsistentRead"]
    assert asked["ProjectionExpression"] == "#a0, #a1"
    assert asked["ExpressionAttributeNames"] == {"#a0": "id", "#a1": "n"}
    assert len(call.asked) == 2


async def test_conditions_and_updates_are_passed_on() -> None:
    """With their placeholders."""
    call = RecordingCall()
    stated = Expression("n = :n", {"#m": "m"}, image({":n": 1}))
    update = Write("update", "items", image({"id": 1}), update="SET #m = :n", condition=stated)
    check = replace(update, kind="check", update="")
    await DynamoDBTables(call, LAYOUT, chance=SystemChance()).commit(HELD, WANTED, [update, check])
    _, first, second = call.asked[0]["TransactItems"]
    body = {
        "TableName": "items",
        "Key": {"id": {"N": "1"}},
        "ConditionExpression": "n = :n",
        "ExpressionAttributeNames": {"#m": "m"},
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }
    assert first == {"Update": {**body, "UpdateExpression": "SET #m = :n"}}
    assert second == {"ConditionCheck": body}
