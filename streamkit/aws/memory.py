"""The memory of functions in the checkpoint table: a `Memory`.

    pk                                              sk                           row
    function#<consumer, stream>                     <shard id>                   the one memo of a shard
    memory#<consumer, stream>#<shard>#<slot>        <latest arrival>#<token>     one memo a delivery, expires

What stands still has rows of its own: halts.py.

A clean batch costs two requests where the mapping's factor is declared to be 1, and three otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.aws.attributes import VERSION, Attributes, Item, digest_of, of_this_version
from streamkit.aws.call import Call
from streamkit.aws.errors import ConditionFailed, Rejected
from streamkit.core.memory import SKEW_SECONDS, Cell, Digests, Memo, ShardCell, Stretch, Stretches, Trouble
from streamkit.core.positions import Position, Progress
from streamkit.errors import Overtaken
from streamkit.ports import Claimed

if TYPE_CHECKING:
    from datetime import timedelta

MAX_PAGES = 1_000
"""Of one slot: 1 MB each, five minutes of a shard's fastest traffic a few."""
_MOST_MILLISECONDS = 10**14 - 1
_NEVER = 253_402_300_799
"""The end of the year 9999: DynamoDB keeps such a row."""

_CLAIMABLE = "attribute_not_exists(#token) OR (#token <> :token AND (attribute_not_exists(#until) OR #until < :dead))"
"""The claim before was let go, or ran out; and it was not this very one, of which a second sending changes nothing."""

_trouble = msgspec.json.Decoder(Trouble)


class _Stretch(msgspec.Struct, array_like=True):
    """A stretch as the row holds it: four of them within the KB that a write unit is."""

    begin: str
    frontier: str | None
    at: float
    first: str | None = None
    done: bytes = b""
    decoding: int = 0


_stretches = msgspec.json.Decoder(list[_Stretch])


class TableMemory:
    """What the deliveries of one consumer's function left behind."""

    def __init__(self, call: Call, table: str, *, consumer: str, keep: timedelta) -> None:
        """`keep` is at least the stream's retention: what is forgotten sooner may be handled twice."""
        self._call = call
        self._table = table
        self._consumer = consumer
        self._keep = keep.total_seconds()

    async def claim(self, cell: Cell, memo: Memo, *, now: float) -> Claimed:
        """Make the claim durable, unless one that lives at `now` holds its row. One request, or two for a slot."""
        if isinstance(cell, ShardCell):
            return await self._claim_shard(cell, memo, now)
        with suppress(ConditionFailed):  # then it was this very claim, sent before: nobody else has its token
            await self._call(
                "PutItem",
                TableName=self._table,
                Item=self._item(cell, memo),
                ConditionExpression="attribute_not_exists(pk)",
            )
        others = [each for each in await self.near(cell) if each.token != memo.token]
        return Claimed(placed=True, revision=memo.revision, memos=others)

    async def near(self, cell: Cell) -> Sequence[Memo]:
        """Return what deliveries left that may share records with one of this cell, read consistently."""
        if isinstance(cell, ShardCell):
            answer = await self._call("GetItem", TableName=self._table, Key=self._key(cell), ConsistentRead=True)
            return [self._memo(answer["Item"])] if answer.get("Item") else []
        found: list[Memo] = []
        start: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            answer = await self._call(
                "Query",
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk >= :since",
                ExpressionAttributeValues={":pk": self._key(cell)["pk"], ":since": {"S": _moment(cell.earliest)}},
                ConsistentRead=True,
                **start,
            )
            found += map(self._memo, answer["Items"])
            if not answer.get("LastEvaluatedKey"):
                return found
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        raise Rejected(f"expected at most {MAX_PAGES} pages of one slot in table {self._table}, got more")

    async def write(self, cell: Cell, memo: Memo) -> None:
        """Replace the delivery's own memo, of the revision before this one. Raises `Overtaken`. One request."""
        try:
            await self._call(
                "PutItem",
                TableName=self._table,
                Item=self._item(cell, memo),
                ConditionExpression="#token = :token AND #revision = :before",
                ExpressionAttributeNames={"#token": "token", "#revision": "revision"},
                ExpressionAttributeValues={":token": {"S": memo.token}, ":before": {"N": str(memo.revision - 1)}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionFailed as refused:
            there = self._memo(refused.item) if refused.item else None
            if there is None or (there.token, there.revision) != (memo.token, memo.revision):
                raise Overtaken(f"table {self._table}: expected the claim of this delivery, got another") from None

    async def forget(self, cell: Cell, memos: Sequence[Memo]) -> None:
        """Remove memos of this cell, unless they were written since. One request each."""
        for memo in memos:
            try:
                await self._call(
                    "DeleteItem",
                    TableName=self._table,
                    Key=self._key(cell, memo),
                    ConditionExpression="#token = :token AND #revision = :revision",
                    ExpressionAttributeNames={"#token": "token", "#revision": "revision"},
                    ExpressionAttributeValues={
                        ":token": {"S": memo.token},
                        ":revision": {"N": str(memo.revision)},
                    },
                )
            except ConditionFailed:
                continue

    async def _claim_shard(self, cell: ShardCell, memo: Memo, now: float) -> Claimed:
        """Take the row of a shard as it is; what it says of the delivery before comes back with it."""
        try:
            answer = await self._call(
                "UpdateItem",
                TableName=self._table,
                Key=self._key(cell),
                UpdateExpression=(
                    "SET #v = :v, #token = :token, #since = :since, #until = :until, #moved = :false,"
                    " #expires = if_not_exists(#expires, :expires) REMOVE #mark ADD #revision :one"
                ),
                ConditionExpression=_CLAIMABLE,
                ExpressionAttributeNames={
                    f"#{name}": name
                    for name in ("v", "token", "since", "until", "moved", "expires", "mark", "revision")
                },
                ExpressionAttributeValues={
                    ":v": {"N": str(VERSION)},
                    ":token": {"S": memo.token},
                    ":since": _real(memo.since),
                    ":until": _real(memo.until or 0.0),
                    ":false": {"BOOL": False},
                    ":expires": self._expires(memo),
                    ":dead": _real(now - SKEW_SECONDS),
                    ":one": {"N": "1"},
                },
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionFailed as refused:
            there = self._memo(refused.item) if refused.item else None
            if there is None or there.token != memo.token:
                return Claimed(placed=False, revision=0, memos=[there] if there else [])
            # the same claim, sent before: nothing is known of the delivery before it; or it was let go by now
            before = msgspec.structs.replace(there, until=None)
            return Claimed(placed=there.until is not None, revision=there.revision, memos=[before])
        item = answer.get("Attributes")
        if not item:
            return Claimed(placed=True, revision=1, memos=())
        before = self._memo(item)
        return Claimed(placed=True, revision=before.revision + 1, memos=[before])

    # Rows

    def _key(self, cell: Cell, memo: Memo | None = None) -> Item:
        name = digest_of(f"{self._consumer}|{cell.stream}")[:16]
        if isinstance(cell, ShardCell):
            return {"pk": {"S": f"function#{name}"}, "sk": {"S": cell.shard}}
        partition = f"memory#{name}#{cell.shard}#{cell.slot}"
        return {"pk": {"S": partition}, "sk": {"S": f"{_moment(cell.latest)}#{memo.token if memo else ''}"}}

    def _item(self, cell: Cell, memo: Memo) -> Item:
        item: Item = {
            **self._key(cell, memo),
            "v": {"N": str(VERSION)},
            "token": {"S": memo.token},
            "revision": {"N": str(memo.revision)},
            "since": _real(memo.since),
            "moved": {"BOOL": memo.moved},
            "expires": self._expires(memo),
        }
        if memo.until is not None:
            item["until"] = _real(memo.until)
        if memo.mark:
            item["mark"] = {"L": [{"S": place} for place in memo.mark]}
        if memo.trouble != Trouble():
            item["trouble"] = {"S": msgspec.json.encode(memo.trouble).decode()}
        return item | _known(memo.known)

    def _memo(self, item: Item) -> Memo:
        found = of_this_version(self._table, item)
        return Memo(
            token=found.text("token"),
            since=found.real("since"),
            until=found.real_or_none("until"),
            revision=found.whole("revision"),
            moved=found.truth("moved"),
            mark=found.texts("mark"),
            trouble=found.read("trouble", "S", _trouble.decode, expected="JSON") if "trouble" in found else Trouble(),
            known=_read_known(found),
        )

    def _expires(self, memo: Memo) -> Item:
        """Say when the row may go. Parked keys and halts are kept for as long as they stand (rule 21)."""
        stands = memo.trouble.parked or memo.trouble.halted
        return {"N": str(_NEVER if stands else int(memo.since + self._keep) + 1)}


def _known(known: Stretches | Digests) -> Item:
    if isinstance(known, Digests):
        named = {"claimed": known.claimed, "settled": known.settled, "parts": known.parts}
        return {name: {"B": digests} for name, digests in named.items() if digests}
    rows = [_laid_out(stretch) for stretch in known.stretches]
    return {"stretches": {"S": msgspec.json.encode(rows).decode()}} if rows else {}


def _read_known(found: Attributes) -> Stretches | Digests:
    if "claimed" in found:
        return Digests(*(found.binary(name) if name in found else b"" for name in ("claimed", "settled", "parts")))
    if "stretches" in found:
        rows = found.read("stretches", "S", _stretches.decode, expected="JSON")
        return Stretches(tuple(map(_read_stretch, rows)))
    return Stretches()


def _laid_out(stretch: Stretch) -> _Stretch:
    progress = stretch.progress
    frontier, first = (_told(position) if position else None for position in (progress.frontier, progress.first))
    return _Stretch(_told(stretch.begin), frontier, stretch.at, first, progress.done, progress.decoding)


def _read_stretch(row: _Stretch) -> Stretch:
    frontier, first = (_position(text) if text else None for text in (row.frontier, row.first))
    return Stretch(_position(row.begin), Progress(frontier, first, row.done, row.decoding), row.at)


def _told(position: Position) -> str:
    number, part = position.sequence_number, position.subsequence
    return number if part is None else f"{number}:{part}"


def _position(text: str) -> Position:
    number, _, part = text.partition(":")
    return Position(number, int(part) if part else None)


def _moment(epoch: float) -> str:
    """Return milliseconds that sort like the number."""
    return f"{min(max(0, int(epoch * 1000)), _MOST_MILLISECONDS):014d}"


def _real(value: float) -> Item:
    return {"N": repr(value)}
