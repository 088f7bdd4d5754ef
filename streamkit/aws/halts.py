"""Where functions stand still, in the checkpoint table: `Halts`.

    pk        sk
    halted    <consumer>#<stream's ARN>#<shard>#<first record that waits>

They lie together, so that an operator finds them with one request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamkit.aws.attributes import VERSION, Attributes, Item, of_this_version
from streamkit.core.memory import Halt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.aws.call import Call

MAX_PAGES = 1_000
"""Of 1 MB each: some million halts."""
_PARTITION: Item = {"S": "halted"}


class TableHalts:
    """The halts of one consumer's function; to look at, those of all consumers of the table."""

    def __init__(self, call: Call, table: str, *, consumer: str | None) -> None:
        self._call = call
        self._table = table
        self._prefix = "" if consumer is None else f"{consumer}#"

    async def halt(self, halt: Halt) -> None:
        """Returning means that it stands, durably. One request."""
        item: Item = {
            **self._key(halt.name),
            "v": {"N": str(VERSION)},
            "stream": {"S": halt.stream},
            "shard": {"S": halt.shard},
            "sequence": {"S": halt.sequence},
            "why": {"S": halt.why},
            "since": {"N": repr(halt.since)},
        }
        await self._call("PutItem", TableName=self._table, Item=item)

    async def stands(self, name: str) -> Halt | None:
        """Return the halt of this name, if nobody has lifted it. One request."""
        answer = await self._call("GetItem", TableName=self._table, Key=self._key(name), ConsistentRead=True)
        return self._halt(answer["Item"]) if answer.get("Item") else None

    async def standing(self) -> Sequence[Halt]:
        """Return every halt of the consumer, by stream, shard and record."""
        found: list[Halt] = []
        start: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            answer = await self._call(
                "Query",
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :consumer)" if self._prefix else "pk = :pk",
                ExpressionAttributeValues={":pk": _PARTITION}
                | ({":consumer": {"S": self._prefix}} if self._prefix else {}),
                ConsistentRead=True,
                **start,
            )
            found += map(self._halt, answer["Items"])
            if not answer.get("LastEvaluatedKey"):
                break
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        return found

    async def lift(self, halt: Halt) -> None:
        """Returning means that the next delivery goes on. One request."""
        await self._call("DeleteItem", TableName=self._table, Key=self._key(halt.name))

    def _key(self, name: str) -> Item:
        return {"pk": _PARTITION, "sk": {"S": f"{self._prefix}{name}"}}

    def _halt(self, item: Item) -> Halt:
        found: Attributes = of_this_version(self._table, item)
        return Halt(
            stream=found.text("stream"),
            shard=found.text("shard"),
            sequence=found.text("sequence"),
            why=found.text("why"),
            since=found.real("since"),
        )
