"""The changes of a DynamoDB table as a `Source`: the table's identity, its streams as one lineage, their readers.

A table has one stream at a time. Disabled and enabled again it has another, of a new label, and the old one stays
readable for 24 hours (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html). All that can be
read is one lineage here (`core.lineage.chained`), so what is registered is the table, not one of its streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from streamkit.aws.backoff import persist
from streamkit.aws.call import Call
from streamkit.aws.change_reader import ChangeReader, Crossing
from streamkit.aws.errors import Rejected
from streamkit.aws.pace import Pacing
from streamkit.aws.polling import PollSettings
from streamkit.aws.shapes import epoch
from streamkit.core.lineage import CROSSING, Shard, Stream, chained
from streamkit.core.positions import Place
from streamkit.core.records import Origin
from streamkit.errors import Denied, Missing
from streamkit.events import StreamRenewed
from streamkit.ports import Chance, Clock, Reader

if TYPE_CHECKING:
    from streamkit.ports import Report

RETENTION: Final = timedelta(hours=24)
MAX_PAGES: Final = 1_000
"""Of one listing: at 100 shards a page, shards that live for 4 hours and records that live for 24, of more than any
table has."""
_LONGEST_LISTING_SECONDS: Final = 300.0
"""How long a listing may go on over several attempts."""
_SKEW: Final = timedelta(seconds=2)
"""By how much the label of a stream may be older than its table."""

Calls = Mapping[str, Call]


class ChangeSettings(PollSettings, frozen=True):
    """How the changes of a table are read. The service forgets an iterator after 900 s."""

    pacing: Pacing = Pacing(calls_per_second=10.0, bytes_per_second=10_000_000.0)
    limit: int = 1_000
    iterator_seconds: float = 870.0
    page: int = 100
    """Most shards of one page of a listing."""


class ChangeSource:
    """The changes of one table, by the table's name or ARN."""

    def __init__(  # noqa: PLR0913 - each is a port or a value of its own
        self,
        dynamodb: Call,
        streams: Call,
        *,
        table: str,
        clock: Clock,
        chance: Chance,
        report: Report,
        settings: ChangeSettings | None = None,
    ) -> None:
        self.name = table.rpartition(":table/")[2]
        self.settings = settings or ChangeSettings()
        self.clock = clock
        self.chance = chance
        self.report = report
        self.call = streams
        self._dynamodb = dynamodb
        self._arns: dict[str, str] = {}
        """Of the stream that each listed shard belongs to."""
        self._unfinished: dict[str, tuple[float, tuple[Sequence[Mapping[str, Any]], ...], str | None]] = {}
        """Listings that were cut short: when they began, what they found, and where to go on; by stream."""
        self._made: datetime | None = None
        """When the table was made that this is about."""
        self._label: str | None = None
        """Of the youngest stream seen so far."""

    def __repr__(self) -> str:
        return f"<changes of table {self.name}>"

    async def identify(self) -> Stream:
        """Return the identity of the table as it is now. Raises `Missing` if it is gone or has no stream, `Denied`."""
        found = (await self._ask(self._dynamodb, "DescribeTable", TableName=self.name))["Table"]
        made = epoch(found["CreationDateTime"])
        self._made = self._made or datetime.fromtimestamp(made, UTC)
        if not found.get("LatestStreamArn") and not await self._streams(self._made):
            raise Missing(
                f"expected table {self.name} to have a stream, got none: enable it, with new and old images "
                "(aws dynamodb update-table --stream-specification)"
            )
        return Stream(name=self.name, arn=found["TableArn"], incarnation=str(round(made * 1000)), retention=RETENTION)

    async def shards(self) -> Sequence[Shard]:
        """Return one complete listing of all streams the table has and had, as far as they can be read."""
        arns = await self._streams(await self._table_made())
        listings = [(_label(arn), arn, await self._listing(arn)) for arn in arns]
        self._arns = {shard.id: arn for _, arn, shards in listings for shard in shards}
        self._note(_label(arns[-1]) if arns else None)
        return chained((label, shards) for label, _, shards in listings)

    def reader(self, shard: Shard, place: Place) -> Reader:
        """Return a reader; nothing is asked of the service before its first `read`."""
        if shard.id.startswith(CROSSING):
            return Crossing(shard)
        return ChangeReader(self, Origin(stream=self.name, shard=shard.id), place)

    async def arn_of(self, shard: str) -> str:
        """Return the ARN of the stream a shard belongs to. Raises `Missing` if no stream has it any more."""
        if shard not in self._arns:
            await self.shards()
        if shard not in self._arns:
            raise Missing(f"table {self.name}: expected shard {shard} in one of its streams, got none with it")
        return self._arns[shard]

    async def children_of(self, shard: str) -> tuple[Shard, ...]:
        """Return the shards that go on from one that ended; none where the service does not say it in one answer."""
        arn = await self.arn_of(shard)
        by_parent = {"Type": "CHILD_SHARDS", "ShardId": shard}
        try:
            answer = await persist(
                lambda: self.call("DescribeStream", StreamArn=arn, ShardFilter=by_parent),
                backoff=self.settings.backoff,
                chance=self.chance,
            )
        except Rejected:
            return ()
        listed = map(_shard, answer["StreamDescription"].get("Shards", ()))
        children = tuple(each for each in listed if shard in each.parents)
        self._arns.update((child.id, arn) for child in children)
        return children

    async def _table_made(self) -> datetime:
        """Return when the table was made. Raises `Missing` if it is another one by now (rule 13)."""
        known = self._made
        found = await self.identify()
        made = datetime.fromtimestamp(int(found.incarnation) / 1000, UTC)
        if known is not None and abs(made - known) > timedelta(milliseconds=1):
            raise Missing(f"expected table {self.name} made {known}, got another one of that name, made {made}")
        return made

    async def _streams(self, made: datetime) -> list[str]:
        """Return the ARNs of the streams this table has and had, oldest first: not those of an earlier namesake."""
        found: list[str] = []
        question: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            answer = await self._ask(self.call, "ListStreams", TableName=self.name, **question)
            found += (each["StreamArn"] for each in answer["Streams"] if each["TableName"] == self.name)
            if not answer.get("LastEvaluatedStreamArn"):
                return sorted((arn for arn in found if _since(arn) >= made - _SKEW), key=_label)
            question = {"ExclusiveStartStreamArn": answer["LastEvaluatedStreamArn"]}
        raise Rejected(f"expected at most {MAX_PAGES} pages of streams of table {self.name}, got more")

    async def _listing(self, arn: str) -> list[Shard]:
        """Return all shards of one stream; none if it has just gone.

        One that was cut short goes on at the page where it was: whoever has little time lists a large table, too.
        """
        now = self.clock.monotonic()
        begun, pages, after = self._unfinished.pop(arn, (now, (), None))
        if now - begun > _LONGEST_LISTING_SECONDS:
            begun, pages, after = now, (), None
        for _ in range(MAX_PAGES):
            question = {"ExclusiveStartShardId": after} if after else {}
            try:
                answer = await self._ask(
                    self.call, "DescribeStream", StreamArn=arn, Limit=self.settings.page, **question
                )
            except Missing:
                self._unfinished.pop(arn, None)
                return []
            description = answer["StreamDescription"]
            pages, after = (*pages, description.get("Shards", ())), description.get("LastEvaluatedShardId")
            if not after:
                self._unfinished.pop(arn, None)
                return [_shard(each) for page in pages for each in page]
            self._unfinished[arn] = begun, pages, after
        self._unfinished.pop(arn, None)
        raise Rejected(f"expected at most {MAX_PAGES} pages of shards of {arn}, got more")

    def _note(self, label: str | None) -> None:
        """Report a younger stream than was known."""
        if label is not None and self._label is not None and label > self._label:
            self.report(StreamRenewed(stream=self.name, before=self._label, label=label))
        self._label = label or self._label

    async def _ask(self, call: Call, operation: str, **parameters: object) -> dict[str, Any]:
        """Ask a few times before a passing error is the caller's: ten calls a second are all that an account has."""
        backoff = replace(self.settings.backoff, tries=8)
        try:
            return await persist(lambda: call(operation, **parameters), backoff=backoff, chance=self.chance)
        except (Missing, Denied) as error:
            raise type(error)(f"table {self.name}: {error}") from error


def _shard(entry: Mapping[str, Any]) -> Shard:
    """Read one shard of DescribeStream: it has one parent at most, shards never merge."""
    parent = entry.get("ParentShardId")
    return Shard(entry["ShardId"], (parent,) if parent else ())


def _label(arn: str) -> str:
    """Return the label of a stream: when it was enabled, in ISO 8601."""
    return arn.rpartition("/stream/")[2]


def _since(arn: str) -> datetime:
    """Return when a stream was enabled, by its label; a label that is no moment counts as young."""
    try:
        return datetime.fromisoformat(_label(arn)).replace(tzinfo=UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
