"""What functions remember of deliveries (rule 24), and what a delivery learns from it. Pure.

Lambda's mapping owns the position and delivers again what it thinks was not settled. A memo is one row of the table:
which records one delivery claimed, until when, what of them is settled, and what went wrong. From the memos that may
share records with a delivery, `Recollection` says what not to repeat, what to try alone, and what to give up.

Two kinds of knowledge:

    Stretches   one memo a shard: consecutive records, from a first one up to a frontier. Exact only where batches of a
                shard come one after the other, so for a declared parallelization factor of 1.
    Digests     one memo a delivery: which single records it had, however batches of a shard interleave.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from streamkit.core.positions import Position, Progress
from streamkit.core.quarantine import DEATHS, piece
from streamkit.core.records import Record
from streamkit.core.window import pack, unpack

SKEW_SECONDS = 0.5
"""A claim is believed for so much longer: clocks of hosts differ a little. No write depends on it, only repeats do."""
MAX_STEP = 64
"""Records of a step: what a mark holds."""
MAX_FAILURES = 500
"""Records of whose attempts counts are kept; of more than that, those with the highest."""
MAX_STRETCHES = 4
"""Stretches of a shard: a delivery that comes late is known if it is no older."""
SLOT_SECONDS = 300
"""Digests are kept by the time of arrival in slots so wide: the longest batching window, so that a delivery has one or
two of them."""
MAX_PARTS = 10_000
"""User records of unsettled aggregates that are remembered: a row holds 400 KB."""
DIGEST_BYTES = 12
"""96 bits: two records of a slot are taken for one in 1 of 10^19 deliveries of 10,000 among 100,000 others."""

Place = str
"""A (sub)record of a shard, by number and subsequence: `49590:0`."""


class ShardCell(msgspec.Struct, frozen=True):
    """Where the one memo of a shard lies."""

    stream: str
    """ARN."""
    shard: str


class SlotCell(msgspec.Struct, frozen=True):
    """Where the memos lie of deliveries whose records arrived in one slot of time."""

    stream: str
    """ARN."""
    shard: str
    """Empty where the event does not tell."""
    slot: int
    earliest: float
    latest: float
    """When the first and the last record of this delivery's share arrived: seconds since the epoch."""


Cell = ShardCell | SlotCell


class Trouble(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong in the deliveries so far of records that are not settled."""

    failures: dict[Place, int] = {}
    """Attempts that failed."""
    cut: dict[Place, int] = {}
    """Deliveries that ended with an attempt under way that had had all their time."""
    deaths: int = 0
    """Deliveries in a row that ended without a word and without progress."""
    suspects: tuple[Place, ...] = ()
    """What was under way when the last one died; empty: it may have been any of them."""
    sole: dict[Place, int] = {}
    """How often a record was the only one under way when the process died."""
    down_since: float | None = None
    """Since when everything has been failing: seconds since the epoch."""
    halted: str | None = None
    """Name of the `Halt` that stood when it was written: nothing runs until a person lifts it."""
    batch: int = 0
    """Most records of a batch: the one before took longer than there was time. 0 is as the consumer says."""
    parked: tuple[str, ...] = ()
    """Digests of the keys whose later records follow an earlier one into the dead-letter queue (rule 21)."""


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that stands still until a person acts. It has a row of its own, so that it can be found and lifted."""

    stream: str
    """ARN."""
    shard: str
    """Empty where the event does not tell."""
    sequence: str
    """Of the first record that waits."""
    why: str
    since: float
    """Seconds since the epoch."""

    @property
    def name(self) -> str:
        """Name it: the same delivery halts under the same name."""
        return f"{self.stream}#{self.shard}#{self.sequence}"


class Stretch(msgspec.Struct, frozen=True):
    """Consecutive records of one shard, in one piece."""

    begin: Position
    """Names the first of them."""
    progress: Progress
    """Its frontier is the end of what is settled from `begin` on; bits beyond."""
    at: float = 0.0
    """When it was told last: seconds since the epoch."""


class Stretches(msgspec.Struct, frozen=True, tag=True):
    """What is settled of a shard, the latest stretch first."""

    stretches: tuple[Stretch, ...] = ()

    def ahead(self, records: Sequence[Record], decoding: int) -> bytearray:
        """Return one flag for each record, set where it is settled; flags for records after the last may follow."""
        flags = bytearray(len(records))
        for stretch in reversed(self.stretches):
            _mark(flags, records, stretch, decoding)
        return flags

    def extended(self, begin: Position, progress: Progress, *, at: float = 0.0) -> Stretches:
        """Return this with what is settled now, of a delivery that began with this record."""
        if progress.frontier is None and not progress.done:
            return self
        kept = [replace(each, progress=Progress(each.progress.frontier)) for each in self.stretches]
        for each in self.stretches:
            if _holds(each, begin):
                if not _passes(progress.frontier, each.progress.frontier):
                    return self
                begin = each.begin
        kept = [each for each in kept if each.progress.frontier and _named(each.begin) != _named(begin)]
        return Stretches((Stretch(begin, progress, at), *kept)[:MAX_STRETCHES])

    def passes(self, records: Sequence[Record]) -> bool:
        """Say whether a delivery of later records has been here: batches come in turn, so these are settled."""
        last = _at(records[-1])
        return any(_named(stretch.begin) > last for stretch in self.stretches)

    def leads(self, records: Sequence[Record], *, since: float) -> bool:
        """Say whether the latest delivery that settled anything was one of later records, and is no older than this."""
        if not self.stretches:
            return False
        latest = self.stretches[0]
        return latest.at >= since and _named(latest.begin) > _at(records[-1])

    def shares(self, records: Sequence[Record]) -> bool:  # noqa: ARG002 - as Digests
        """Say whether a delivery of this memo and these records may be the same: of one shard they come in turn."""
        return True

    def within(self, records: Sequence[Record]) -> bool:  # noqa: ARG002 - as Digests
        """Say whether it knows of no other records than these: there is one memo, which stays."""
        return False


class Digests(msgspec.Struct, frozen=True, tag=True):
    """Which records a delivery had, and which of them are settled."""

    claimed: bytes = b""
    """Digests of its physical records, one after the other."""
    settled: bytes = b""
    """One bit for each, set where it is settled whole."""
    parts: bytes = b""
    """Digests of user records that are settled in an aggregate that is not."""

    @classmethod
    def of(cls, records: Iterable[Record], settled: Iterable[bool]) -> Digests:
        """Describe a delivery by its records, user records one by one, and whether each is settled."""
        wholes: dict[bytes, bool] = {}
        parts: dict[bytes, list[bytes]] = {}
        for record, is_settled in zip(records, settled, strict=True):
            name = digest(record)
            wholes[name] = wholes.get(name, True) and is_settled
            if is_settled and _is_part(record):
                parts.setdefault(name, []).append(digest(record, part=True))
        split = [part for name, found in parts.items() if not wholes[name] for part in found][:MAX_PARTS]
        flags = bytearray(wholes.values())
        return cls(b"".join(wholes), pack(flags) if any(flags) else b"", b"".join(split))

    def ahead(self, records: Sequence[Record], decoding: int) -> bytearray:  # noqa: ARG002 - as Stretches
        """Return one flag for each record, set where it is settled."""
        known = {name for name, flag in zip(_split(self.claimed), unpack(self.settled), strict=False) if flag}
        parts = set(_split(self.parts))
        return bytearray(
            digest(record) in known or (_is_part(record) and digest(record, part=True) in parts) for record in records
        )

    def shares(self, records: Sequence[Record]) -> bool:
        """Say whether it had one of these records."""
        return not set(_split(self.claimed)).isdisjoint(map(digest, records))

    def within(self, records: Sequence[Record]) -> bool:
        """Say whether it had no other records than these."""
        return set(_split(self.claimed)) <= set(map(digest, records))


class Memo(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a claim, and what is known since."""

    token: str
    """Names the delivery that wrote last."""
    since: float
    """When it claimed: seconds since the epoch."""
    until: float | None
    """How long the claim holds, unless it is renewed; None once the delivery is settled or has given back the rest."""
    revision: int = 0
    """Grows by one with every write."""
    moved: bool = False
    """Whether the delivery settled anything."""
    mark: tuple[Place, ...] = ()
    """What is under way, where it goes in steps."""
    trouble: Trouble = Trouble()
    known: Stretches | Digests = Stretches()

    def lives(self, now: float) -> bool:
        """Say whether the delivery may be at work at this moment (seconds since the epoch)."""
        return self.until is not None and now < self.until + SKEW_SECONDS

    def aftermath(self, now: float) -> Trouble:
        """Return the trouble it leaves behind, its own death included."""
        trouble = self.trouble
        if self.until is None or self.lives(now):
            return trouble
        if not self.mark:
            return replace(trouble, deaths=0 if self.moved else trouble.deaths + 1)
        sole = trouble.sole
        if len(self.mark) == 1:
            sole = sole | {self.mark[0]: sole.get(self.mark[0], 0) + 1}
        return replace(trouble, deaths=trouble.deaths + 1, suspects=self.mark, sole=sole)


class Recollection(msgspec.Struct, frozen=True):
    """What a delivery knows of its records before it starts."""

    ahead: bytes
    """One flag for each record, set where it is settled; those of records after the last one may follow."""
    trouble: Trouble
    died: bool = False
    """Whether a delivery of some of them ended without a word."""

    @classmethod
    def of(cls, memos: Iterable[Memo], records: Sequence[Record], *, now: float, decoding: int) -> Recollection:
        """Put together what these memos say about these records. The latest one's trouble goes first."""
        flags = bytearray(len(records))
        trouble, died = Trouble(), False
        for memo in sorted((memo for memo in memos if memo.known.shares(records)), key=lambda memo: memo.since):
            flags = _either(flags, memo.known.ahead(records, decoding))
            after = memo.aftermath(now)
            trouble = replace(
                after, failures=_most(trouble.failures, after.failures), cut=_most(trouble.cut, after.cut)
            )
            died = died or memo.until is not None
        return cls(bytes(flags), trouble, died)


def joined(shares: Sequence[tuple[Sequence[int], Recollection]], count: int) -> Recollection:
    """Put together what is known of shares of one delivery's `count` records, each share given by its indexes."""
    if len(shares) == 1:
        return shares[0][1]
    flags = bytearray(count)
    trouble = Trouble()
    for indexes, each in shares:
        for index, flag in zip(indexes, each.ahead, strict=False):
            flags[index] = flag
        trouble = _worse(trouble, each.trouble)
    return Recollection(bytes(flags), trouble, any(each.died for _, each in shares))


class Step(msgspec.Struct, frozen=True):
    """Records to run together, by index, and whether to write down first that they are under way."""

    indexes: range
    marked: bool


def steps(records: Sequence[Record], settled: Sequence[int], trouble: Trouble) -> list[Step]:
    """Cut a delivery into steps, in stream order: one, unless earlier deliveries died of it (rule 22).

    The suspects go in a few steps; one that was alone at a death goes alone. `settled` has a flag a record.
    """
    if trouble.deaths < DEATHS:
        return [Step(range(len(records)), marked=False)]
    unsettled = {place(record) for record, flag in zip(records, settled, strict=False) if not flag}
    suspects = unsettled.intersection(trouble.suspects) or unsettled
    size = min(MAX_STEP, piece(len(suspects)))
    found: list[Step] = []
    start, held, kind = 0, 0, False
    for index, record in enumerate(records):
        if settled[index]:
            continue
        suspect = place(record) in suspects
        if held and (suspect is not kind or held == (size if kind else MAX_STEP)):
            found.append(Step(range(start, index), marked=True))
            start, held = index, 0
        held, kind = held + 1, suspect
    found.append(Step(range(start, len(records)), marked=held > 0))
    return found


def remaining(trouble: Trouble, unsettled: Iterable[Record], *, moved: bool) -> Trouble:
    """Return what of the trouble concerns records that are still unsettled, `moved` if some were settled this time."""
    places = {place(record) for record in unsettled}
    suspects = tuple(at for at in trouble.suspects if at in places)
    cleared = len(suspects) == 0 < len(trouble.suspects) or not places or (moved and trouble.deaths < DEATHS)
    return replace(
        trouble,
        failures=_of(places, trouble.failures),
        cut=_of(places, trouble.cut),
        deaths=0 if cleared else trouble.deaths,
        suspects=suspects,
        sole=_of(places, trouble.sole),
        batch=trouble.batch if places else 0,
    )


def slots(records: Iterable[Record]) -> dict[int, list[int]]:
    """Return the indexes of records by the slot of their arrival."""
    found: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        found.setdefault(int(record.arrived // SLOT_SECONDS), []).append(index)
    return found


def place(record: Record) -> Place:
    """Name a (sub)record within its shard."""
    return f"{record.sequence_number}:{record.subsequence}"


def named(record: Record) -> Position:
    """Name a (sub)record as the position of itself, not of the place after it."""
    return Position(record.sequence_number, record.subsequence)


def digest(record: Record, *, part: bool = False) -> bytes:
    """Return a short name of a physical record, or of one user record in it, that any delivery gives it.

    Numbers are unique in a shard; where the event does not tell the shard, the key decides: it lives in one.
    """
    text = record.sequence_number if record.shard else f"{record.sequence_number}|{record.key}"
    if part:
        text += f"+{record.subsequence}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


# ------------------------------------------------------------------------------------------ details

_At = tuple[int, float]
_WHOLE = float("inf")


def _at(record: Record) -> _At:
    return record.sequence, record.subsequence


def _named(position: Position) -> _At:
    """Return where a record is that this position names."""
    return int(position.sequence_number), position.subsequence or 0


def _end(position: Position | None) -> _At:
    """Return the last place that lies behind this position."""
    if position is None:
        return (-1, _WHOLE)
    return int(position.sequence_number), _WHOLE if position.subsequence is None else position.subsequence


def _passes(mine: Position | None, theirs: Position | None) -> bool:
    return _end(mine) >= _end(theirs)


def _holds(stretch: Stretch, begin: Position) -> bool:
    """Say whether the settled part of a stretch reaches over a record."""
    return _named(stretch.begin) <= _named(begin) <= _end(stretch.progress.frontier)


def _mark(flags: bytearray, records: Sequence[Record], stretch: Stretch, decoding: int) -> None:
    """Set the flags of the records that a stretch has settled; add those it knows beyond the last record."""
    progress = stretch.progress
    low = bisect_left(records, _named(stretch.begin), key=_at)
    high = bisect_right(records, _end(progress.frontier), key=_at)
    if high > low:
        flags[low:high] = b"\x01" * (high - low)
    if progress.first is None or progress.decoding != decoding:
        return
    start = bisect_left(records, _named(progress.first), key=_at)
    if start < len(records) and _at(records[start]) == _named(progress.first):
        merged = _either(flags[start:], unpack(progress.done))
        flags[start:] = merged


def _either(mine: bytearray, theirs: bytearray) -> bytearray:
    """Return flags that are set in one or the other, as long as the longer one."""
    merged = int.from_bytes(mine, "little") | int.from_bytes(theirs, "little")
    return bytearray(merged.to_bytes(max(len(mine), len(theirs)), "little"))


def _of(places: set[Place], counts: Mapping[Place, int]) -> dict[Place, int]:
    """Return the counts of these records; of more than a row holds, the highest."""
    found = {at: n for at, n in counts.items() if at in places}
    if len(found) <= MAX_FAILURES:
        return found
    return dict(sorted(found.items(), key=lambda each: -each[1])[:MAX_FAILURES])


def _most(mine: Mapping[Place, int], theirs: Mapping[Place, int]) -> dict[Place, int]:
    return {at: max(mine.get(at, 0), theirs.get(at, 0)) for at in (*mine, *theirs)}


def _worse(mine: Trouble, theirs: Trouble) -> Trouble:
    """Return the trouble of two shares of one delivery."""
    worse, better = (mine, theirs) if mine.deaths >= theirs.deaths else (theirs, mine)
    return replace(
        worse,
        failures=_most(mine.failures, theirs.failures),
        cut=_most(mine.cut, theirs.cut),
        sole=_most(mine.sole, theirs.sole),
        suspects=worse.suspects or better.suspects,
        down_since=mine.down_since if mine.down_since is not None else theirs.down_since,
        halted=mine.halted or theirs.halted,
    )


def _is_part(record: Record) -> bool:
    return bool(record.subsequence) or not record.last


def _split(digests: bytes) -> list[bytes]:
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
