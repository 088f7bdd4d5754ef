"""What streamkit needs of the world. Each port is documented by what its return guarantees.

`streamkit.aws` implements them on AWS, `streamkit.testing` in memory; the contract suites of `streamkit.testing`
certify both. All methods may raise the `WorldError`s of `streamkit.errors`; nothing else unless it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from streamkit.core.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime, timedelta

    from streamkit.core.kept import Kept
    from streamkit.core.leasing import Member, ShardRow
    from streamkit.core.ledger import Claimant, Holding
    from streamkit.core.letters import Letter
    from streamkit.core.lineage import Shard, Stream
    from streamkit.core.memory import Cell, Halt, Memo
    from streamkit.core.positions import Place, Start
    from streamkit.core.replay import Replay
    from streamkit.core.successes import Success
    from streamkit.core.transactions import Write
    from streamkit.core.values import Image
    from streamkit.events import Event

    Report = Callable[[Event], None]


class Clock(Protocol):
    """The only source of time (rule 32)."""

    def monotonic(self) -> float:
        """Seconds since some start, running on while the machine is suspended. Decides everything about leases."""
        ...

    def now(self) -> datetime:
        """The wall clock, in UTC. For ages and labels; never for a decision about ownership (rule 3)."""
        ...


class Chance(Protocol):
    """The only source of randomness (rule 32)."""

    def fraction(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def token(self) -> str:
        """32 hexadecimal digits that were never handed out before, anywhere."""
        ...


class Read(msgspec.Struct, frozen=True):
    """One answer of a shard: physical records in stream order; an empty answer is not the end."""

    records: Sequence[Record]
    behind: timedelta | None
    """How far the end of this answer lies behind the tip of the shard, if the service says so."""
    ended: bool = False
    """Whether the shard is closed and this was its last answer."""
    children: tuple[Shard, ...] = ()
    """At the end: the shards that go on from here, if the service says so."""


class Reader(Protocol):
    """Reads one shard onwards from one place."""

    async def read(self) -> Read:
        """Return the next answer, as soon as the service's quotas and the pace when idle allow.

        Throttling, expired iterators and passing errors are waited out inside, from the last record returned:
        no record is skipped or repeated. Raises `Missing` if stream or shard are gone, `Denied`.
        """
        ...

    def close(self) -> None:
        """Let go of what is open for reading, at once; nothing is read after."""
        ...


class Source(Protocol):
    """One stream."""

    async def identify(self) -> Stream:
        """Return the identity of the stream as it is now. Raises `Missing`, `Denied`."""
        ...

    async def shards(self) -> Sequence[Shard]:
        """Return one complete listing, closed shards that still hold records included."""
        ...

    def reader(self, shard: Shard, place: Place) -> Reader:
        """Return a reader; nothing is asked of the service before its first `read`."""
        ...


class Registration(msgspec.Struct, frozen=True):
    """What the checkpoint table belongs to (rules 10, 15)."""

    consumer: str
    stream: Stream
    start: Start
    """Resolved once, when the consumer first saw the stream; durable."""
    buckets: int = 1
    """Partition keys that the shard rows are spread over: fixed with the first registration (rule 9)."""
    replay: Replay | None = None
    """Whose rows these are, if not the consumer's own."""

    @property
    def space(self) -> str:
        """Name whose epochs the rows count: the consumer's workers', or those of one replay."""
        return self.replay.space if self.replay else ""


class Registry(Protocol):
    """The table's own identity row."""

    async def recorded(self) -> Registration | None:
        """Return what is recorded, if anything, read consistently. Raises as `register` does."""
        ...

    async def register(self, wanted: Registration) -> Registration:
        """Record `wanted` unless there is a registration already; return what is recorded, durably.

        Raises `ConfigurationError` if the table is missing, of another shape, or a newer version's.
        The caller compares consumer and stream.
        """
        ...


class Leases(Protocol):
    """Shard rows. Every write is conditional and is sent exactly once: the caller resolves doubt (rules 1, 5).

    A write raises `Refused` with the row as it stands, `Throttled` (nothing happened) or `Unanswered` (unknown).
    """

    async def rows(self) -> Sequence[ShardRow]:
        """Return every shard row, read consistently. Raises `CorruptRow`."""
        ...

    async def add(self, rows: Sequence[ShardRow]) -> None:
        """Make each row unless there is one of its id; returning means all exist."""
        ...

    async def take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        """Seal and take: set owner, epoch and token of `wanted` if epoch and owner are still those of `seen`.

        Where `wanted` tells of a death more than `seen`, that is added to those the row tells of (rule 22). Return the
        whole row as it is from that moment: frontier and all, whatever was written since `seen` was read.
        """
        ...

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
        """Replace `held` by `wanted` if owner, epoch and revision are still those of `held`.

        With `children`, make their rows where missing, in the same transaction.
        """
        ...

    async def drop(self, ended: ShardRow) -> None:
        """Delete the row of an ended shard, if it is as it was seen; somebody else may have been first."""
        ...


class Tables(Protocol):
    """The consumer's own tables, as its handlers read them in a transaction (rule 25)."""

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        """Return an item, or its key and these attributes of it, read consistently; None if there is none."""
        ...

    async def key_names(self, table: str) -> Sequence[str]:
        """Return the names of the attributes that make the table's key."""
        ...


class Transactions(Tables, Protocol):
    """Transactions over the consumer's own tables and the rows of shards. Sent once, as all writes of rows."""

    async def commit(self, held: ShardRow, wanted: ShardRow, writes: Sequence[Write]) -> None:
        """Replace the row as `Leases.write` does, and make the writes: all in one transaction, or nothing.

        The same arguments make the same request to the byte, whose token is that of `wanted`. Raises as `Leases.write`
        does, and `Cancelled` where the row is as held and it is the writes that cannot be.
        """
        ...


class Requests(Protocol):
    """What an operator asks of the owner of a shard."""

    async def ask(self, seen: ShardRow, why: str) -> None:
        """Ask the owner of this epoch to drain, and to halt the shard for this reason; returning means it is durable.

        Costs the owner nothing: no revision. Lapses with the epoch. Raises `Refused` if owner or epoch are others.
        """
        ...


class Members(Protocol):
    """Heartbeat rows, one per worker incarnation (rule 2)."""

    async def members(self) -> Sequence[Member]:
        """Return every worker row, dead and left ones included, read consistently."""
        ...

    async def join(self, member: Member) -> None:
        """Make the row of a new incarnation; returning means it is there."""
        ...

    async def beat(self, member: Member) -> None:
        """Replace the row, if it exists and is neither dead nor left. Raises `DeclaredDead` otherwise."""
        ...

    async def bury(self, seen: Member) -> bool:
        """Declare the member dead if its counter is still the one seen. Return whether it is dead now."""
        ...

    async def forget(self, seen: Member) -> None:
        """Remove the row if it is as seen and not alive; else change nothing. Raises `ValueError` for one seen alive.

        Whoever calls it has seen the row like this for longer than anybody may act on what it said before.
        """
        ...


class DeadLetters(Protocol):
    """Where records go that cannot be handled."""

    async def send(self, letters: Sequence[Letter]) -> None:
        """Returning means every letter is durable. Raises `Undelivered` with those that are not."""
        ...


class Payloads(Protocol):
    """Where the payloads are that a queue of dead letters has no room for (rule 29): one bucket."""

    @property
    def bucket(self) -> str:
        """Its name."""
        ...

    async def keep(self, kept: Kept, payload: bytes) -> None:
        """Returning means the payload is durable where `kept` says. To keep it again does no harm."""
        ...

    async def fetch(self, kept: Kept) -> bytes:
        """Return what was kept, to the byte, and never more than that.

        Raises `Lost` for a payload in another bucket, one that is not there or may not be read, or is another.
        """
        ...


class Successes(Protocol):
    """Where it is told which records were handled."""

    async def send(self, successes: Sequence[Success]) -> None:
        """Returning means every one is durable. Raises `Untold` with those that are not."""
        ...


class Ledger(Protocol):
    """Memory of business keys (rule 26)."""

    async def claim(self, key: str, by: Claimant) -> Holding:
        """Claim the key; say whose it is. "mine" is durable: it was new, expired, released, or this record's before.

        Another's is told with that record's id: who has both in one batch lets that one run.

        Sent again, or late, it does no harm: what was decided under a newer tenure of the record stands.
        """
        ...

    async def release(self, key: str, by: Claimant) -> None:
        """Let other records have the key, if the claim is this record's and of no newer tenure.

        Returning means that the claim cannot come back under this tenure, whatever of it is still under way.
        """
        ...


class Held(msgspec.Struct, frozen=True):
    """A letter taken out of the queue's sight for a while."""

    body: str
    receipt: str
    """What the queue knows this taking by."""


class Mailbox(Protocol):
    """A queue of dead letters, from the side of who works them off."""

    @property
    def sight_seconds(self) -> float:
        """How long a letter stays out of sight after it was taken, or kept."""
        ...

    async def take(self, most: int) -> Sequence[Held]:
        """Take up to so many letters out of sight; none means that none is in sight, as far as one can tell."""
        ...

    async def keep(self, held: Sequence[Held]) -> None:
        """Keep these out of sight, from now on for as long as if they were just taken. What is gone is left out."""
        ...

    async def put_back(self, held: Sequence[Held]) -> None:
        """Let these be seen again at once. What is gone is left out."""
        ...

    async def delete(self, held: Sequence[Held]) -> None:
        """Returning means that these are gone for good."""
        ...


Standing = Literal["mine", "done", "busy"]
"""Of a record to be redriven: it is this run's to handle; its effect has been; another run is at it."""


class Redriven(Protocol):
    """Memory of redriven records by `Record.id` (rule 30): every dead letter lies behind the frontier."""

    async def begin(self, record_id: str, *, run: str, within: float) -> Standing:
        """Say how the record stands; if it is this run's, no other run has it for the next `within` seconds."""
        ...

    async def done(self, record_id: str, *, run: str) -> None:
        """Returning means: whoever begins it again hears that its effect has been."""
        ...

    async def abandon(self, record_id: str, *, run: str) -> None:
        """Let others begin it at once, if this run had it and it is not done."""
        ...


class Claimed(msgspec.Struct, frozen=True):
    """What came of a claim."""

    placed: bool
    """Whether it stands; if not, another delivery that may be at work stands in its way."""
    revision: int
    """Of the row, where it stands."""
    memos: Sequence[Memo]
    """What other deliveries left that may share records with it, or the one in its way."""


class Memory(Protocol):
    """What the deliveries of a function left behind (rule 24). A memo's token belongs to one delivery.

    Every request is sent once: the caller sends it again, to the byte, when its answer was lost.
    """

    async def claim(self, cell: Cell, memo: Memo, *, now: float) -> Claimed:
        """Make the claim durable, unless one that lives at `now` (seconds since the epoch) holds its row.

        Of two claims that may share records and were both placed, one at least is told of the other: the memos are
        read after the claim is durable. A claim is not told of itself, also when it is sent again.
        """
        ...

    async def near(self, cell: Cell) -> Sequence[Memo]:
        """Return what deliveries left that may share records with one of this cell, read consistently."""
        ...

    async def write(self, cell: Cell, memo: Memo) -> None:
        """Replace the delivery's own memo, of the revision before this one; returning means it is durable.

        What was written already is not written again. Raises `Overtaken` if another delivery has the row, or none.
        """
        ...

    async def forget(self, cell: Cell, memos: Sequence[Memo]) -> None:
        """Remove memos of this cell, unless they were written since: a withdrawn claim, or what a newer memo holds."""
        ...


class Halts(Protocol):
    """Where deliveries of a function stand still until a person acts."""

    async def halt(self, halt: Halt) -> None:
        """Returning means that it stands, durably. One of its name may stand already."""
        ...

    async def stands(self, name: str) -> Halt | None:
        """Return the halt of this name, if nobody has lifted it, read consistently."""
        ...

    async def standing(self) -> Sequence[Halt]:
        """Return every halt of the consumer."""
        ...

    async def lift(self, halt: Halt) -> None:
        """Returning means that the next delivery goes on. It may have been lifted before."""
        ...


class FunctionPorts(msgspec.Struct, frozen=True):
    """What a consumer works through in a function."""

    memory: Memory
    halts: Halts
    dead_letters: DeadLetters | None
    ledger: Ledger | None
    successes: Successes | None = None


class Rows(msgspec.Struct, frozen=True):
    """The rows of one consumer's table, as registered."""

    leases: Leases
    members: Members
    ledger: Ledger | None
    tables: Transactions | None = None
    """None where the world has no transactions."""


class Ports(msgspec.Struct, frozen=True):
    """What one consumer works through, before its rows can be found."""

    source: Source
    registry: Registry
    dead_letters: DeadLetters | None
    successes: Successes | None = None
