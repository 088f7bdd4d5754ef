"""The rows of the checkpoint table: how each value is laid out in an item, and read back.

    pk                            sk                row
    meta                          registration      what the table belongs to (rule 10)
    meta                          replay#<id>       a replay of part of its stream
    shard#<incarnation>#<bucket>  <shard id>        one shard (rule 1)
    worker#<bucket>               <incarnation>     heartbeat of one worker (rule 2)
    worker#<digest>#<bucket>      <incarnation>     the same, in a replay
    key#<sha-256 of the key>      claim             a claimed business key (rule 26)
    redriven#<sha-256 of the id>  redriven          a record redriven from the queue (rule 30)

and what functions remember, laid out in memory.py and halts.py.

Attributes that a row may lack are left out where they are None or empty; every other must be there.
"""

from __future__ import annotations

import re
import zlib
from datetime import timedelta
from math import ceil
from typing import cast

import msgspec

from streamkit.aws.attributes import VERSION, Attributes, Item, digest_of, of_this_version
from streamkit.core.leasing import USUAL_LEASE, Member, ShardRow, Vitals
from streamkit.core.lineage import Shard, Stream
from streamkit.core.positions import Position, Progress, Since, Start
from streamkit.core.quarantine import Death, Quarantine
from streamkit.core.replay import Replay
from streamkit.ports import Registration

META = {"pk": {"S": "meta"}, "sk": {"S": "registration"}}
MAX_DONE_BYTES = 64 * 1024
"""Of unpacked done bits: half a million records ahead of the frontier."""
MAX_HASH_KEY = 2**128 - 1
WORKER_SPREAD = 4
"""Buckets of shard rows to one of worker rows: these are few, small, and read by everybody all the time."""

_NUMBERED = re.compile(r"shardId-([0-9]{12})", re.ASCII)
_SHORT = re.compile(r"=|[0-9]{1,12}$", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,39})-([0-9]{1,39})")


class Layout(msgspec.Struct, frozen=True):
    """Where the rows of one stream lie in one table. Bucketing spreads them: no hot partition (rule 9)."""

    table: str
    incarnation: str
    """Digest of the stream's ARN and creation, and of the replay if it is one's."""
    buckets: int
    apart: bool = False
    """Whether the workers are not the consumer's own, but a replay's."""

    @classmethod
    def of(cls, table: str, stream: Stream, *, buckets: int, replay: Replay | None = None) -> Layout:
        """Lay out the rows of a stream: the consumer's own, or those of a replay."""
        subject = f"{stream.arn}|{stream.incarnation}" + (f"|{replay.space}" if replay else "")
        return cls(table, digest_of(subject)[:12], buckets, replay is not None)

    def shard_partitions(self) -> list[str]:
        """Return every partition key of shard rows."""
        return [f"shard#{self.incarnation}#{bucket}" for bucket in range(self.buckets)]

    def worker_partitions(self) -> list[str]:
        """Return every partition key of worker rows."""
        space = f"worker#{self.incarnation}" if self.apart else "worker"
        return [f"{space}#{bucket}" for bucket in range(ceil(self.buckets / WORKER_SPREAD))]

    def shard_key(self, shard: str) -> Item:
        """Return the key of a shard's row."""
        return _key(_bucket(shard, self.shard_partitions()), shard)

    def worker_key(self, worker: str) -> Item:
        """Return the key of a worker's row."""
        return _key(_bucket(worker, self.worker_partitions()), worker)


def replay_key(replay: str) -> Item:
    """Return the key of the registration of a replay."""
    return _key("meta", f"replay#{replay}")


def claim_key(key: str) -> Item:
    """Return the key of a ledger row: a digest, nothing of the business key itself."""
    return _key(f"key#{digest_of(key)}", "claim")


def redriven_key(record_id: str) -> Item:
    """Return the key of the row that remembers a redriven record."""
    return _key(f"redriven#{digest_of(record_id)}", "redriven")


def shard_item(row: ShardRow) -> Item:
    """Lay out a shard's row, key aside."""
    progress = row.progress
    item: Item = {
        "v": _number(VERSION),
        "start": _start(row.start),
        "epoch": _number(row.epoch),
        "revision": _number(row.revision),
        "token": {"S": row.token},
        "decoding": _number(progress.decoding),
        "state": {"S": row.state},
        "parents": _list(row.shard.parents),
        "range": row.shard.hash_range and {"S": "{}-{}".format(*row.shard.hash_range)},
        "owner": _text(row.owner),
        "frontier": _position(progress.frontier),
        "first": _position(progress.first),
        "done": {"B": _packed(progress.done)} if progress.done else None,
        "halted": _text(row.halted),
        "prefers": _text(row.prefers),
        "parked": _list(row.parked),
        "arrived": _moment(row.frontier_arrived),
        "caught_up": _moment(row.caught_up_at),
        "level": None if row.level is None else _number(row.level),
        "marked": _position(row.marked),
        "generation": _number(row.generation) if row.generation else None,
        "vitals": row.vitals and {"S": msgspec.json.encode(row.vitals).decode()},
        "deaths": _list(tuple(msgspec.json.encode(death).decode() for death in row.deaths)),
        "quarantine": row.quarantine and {"S": msgspec.json.encode(row.quarantine).decode()},
    }
    return _present(item)


ASKED = "asked"
"""What an operator asks of the owner: not the owner's to write, so that asking costs nobody the lease."""


def asked_item(row: ShardRow, why: str) -> Item:
    """Lay out a request to the owner of this epoch: whoever comes after is not meant."""
    return {ASKED: {"S": f"{row.epoch} {why}"}}


SHARD_ATTRIBUTES = (
    "v",
    "start",
    "epoch",
    "revision",
    "token",
    "decoding",
    "state",
    "parents",
    "range",
    "owner",
    "frontier",
    "first",
    "done",
    "halted",
    "prefers",
    "parked",
    "arrived",
    "caught_up",
    "level",
    "marked",
    "generation",
    "vitals",
    "deaths",
    "quarantine",
)
"""Every attribute of a shard's row that is ours; others on the item are left alone."""


def shard_row(table: str, item: Item) -> ShardRow:
    """Read a shard's row. Raises `CorruptRow`, and `ConfigurationError` for a later layout."""
    found = of_this_version(table, item)
    state = found.text("state")
    if state not in {"open", "ended", "halted"}:
        found.refuse("state", "open, ended or halted", state)
    hash_range = found.read("range", "S", _hash_range, expected="two hash keys") if "range" in found else None
    return ShardRow(
        shard=Shard(found.text("sk"), found.texts("parents"), hash_range),
        start=_read_start(found),
        owner=found.text_or_none("owner"),
        epoch=found.whole("epoch"),
        revision=found.whole("revision"),
        token=found.text("token"),
        progress=_read_progress(found),
        state=state,  # type: ignore[arg-type] # checked above
        halted=found.text_or_none("halted"),
        prefers=found.text_or_none("prefers"),
        parked=found.texts("parked"),
        frontier_arrived=found.real_or_none("arrived"),
        caught_up_at=found.real_or_none("caught_up"),
        level=found.whole("level") if "level" in found else None,
        marked=_read_position(found, "marked"),
        generation=found.whole("generation") if "generation" in found else 0,
        vitals=_read_vitals(found),
        deaths=_read_deaths(found),
        quarantine=found.read("quarantine", "S", _quarantine, expected="a quarantine")
        if "quarantine" in found
        else None,
        asked=_read_asked(found),
    )


def member_item(member: Member) -> Item:
    """Lay out a worker's row, key aside: everybody reads it all the time, so that each byte of it counts."""
    item: Item = {
        "v": _number(VERSION),
        "counter": _number(member.counter),
        "state": {"S": member.state},
        "holds": {"L": [{"S": _short(shard)} for shard in member.holds]},
        "started": _moment(member.started),
        "levels": {"B": _levels(member.levels)} if member.levels else None,
        "lease": _moment(member.lease) if member.lease != USUAL_LEASE else None,
    }
    return _present(item)


MEMBER_ATTRIBUTES = ("v", "counter", "state", "holds", "started", "levels", "lease")
"""Every attribute of a worker's row that is ours."""


def member_row(table: str, item: Item) -> Member:
    """Read a worker's row. Raises `CorruptRow`, and `ConfigurationError` for a later layout."""
    found = of_this_version(table, item)
    state = found.text("state")
    if state not in {"alive", "left", "dead"}:
        found.refuse("state", "alive, left or dead", state)
    return Member(
        worker=found.text("sk"),
        counter=found.whole("counter"),
        state=state,  # type: ignore[arg-type] # checked above
        holds=tuple(_long(shard) for shard in found.texts("holds")),
        started=found.real("started"),
        levels=tuple(level - 1 if level else None for level in found.binary("levels")) if "levels" in found else (),
        lease=found.real("lease") if "lease" in found else USUAL_LEASE,
    )


def registration_item(registration: Registration) -> Item:
    """Lay out the table's own row, key aside."""
    stream, replay = registration.stream, registration.replay
    item: Item = {
        "v": _number(VERSION),
        "consumer": {"S": registration.consumer},
        "stream": {"S": stream.name},
        "arn": {"S": stream.arn},
        "incarnation": {"S": stream.incarnation},
        "retention_seconds": _moment(stream.retention.total_seconds()),
        "start": _start(registration.start),
        "buckets": _number(registration.buckets),
        "replay": replay and {"S": msgspec.json.encode(replay).decode()},
    }
    return _present(item)


def registration_row(table: str, item: Item) -> Registration:
    """Read the table's own row. Raises `CorruptRow`, `ConfigurationError`."""
    found = of_this_version(table, item)
    stream = Stream(
        name=found.text("stream"),
        arn=found.text("arn"),
        incarnation=found.text("incarnation"),
        retention=timedelta(seconds=found.real("retention_seconds")),
    )
    buckets = found.whole("buckets") if "buckets" in found else 1
    if buckets < 1:
        found.refuse("buckets", "at least 1", buckets)
    replay = found.read("replay", "S", _replay, expected="a replay") if "replay" in found else None
    return Registration(found.text("consumer"), stream, _read_start(found), buckets, replay)


def _read_progress(found: Attributes) -> Progress:
    """Read how far a shard is settled."""
    frontier, first = (_read_position(found, name) for name in ("frontier", "first"))
    done = found.read("done", "B", _unpacked, expected="deflated bits") if "done" in found else b""
    if bool(done) != (first is not None):
        found.refuse("first", "the position of the first done bit, if there are any", first)
    return Progress(frontier, first, done, found.whole("decoding"))


def _read_position(found: Attributes, name: str) -> Position | None:
    """Read a position, if there is one."""
    return found.read(name, "S", Position.parse, expected="a position like '056:4959...'") if name in found else None


def _read_vitals(found: Attributes) -> Vitals | None:
    """Read what is for people only: nothing is refused for its sake."""
    try:
        return msgspec.json.decode(found.text_or_none("vitals") or "null", type=Vitals | None)
    except msgspec.MsgspecError:
        return None


def _read_deaths(found: Attributes) -> tuple[Death, ...]:
    """Read the deaths of owners: each is added to the list as a text of its own."""
    try:
        return tuple(msgspec.json.decode(text, type=Death) for text in found.texts("deaths"))
    except msgspec.MsgspecError:
        found.refuse("deaths", "a list of deaths", found.texts("deaths"))


def _quarantine(text: str) -> Quarantine:
    return msgspec.json.decode(text, type=Quarantine)


def _read_asked(found: Attributes) -> str | None:
    epoch, _, why = (found.text_or_none(ASKED) or "").partition(" ")
    return why if epoch == str(found.whole("epoch")) else None


def _replay(text: str) -> Replay:
    return msgspec.json.decode(text, type=Replay)


def _read_start(found: Attributes) -> Start:
    """Read where a shard without a frontier begins."""
    if found.holds("start", "N"):
        return Since(found.real("start"))
    start = found.text("start")
    if start != "TRIM_HORIZON":
        found.refuse("start", "TRIM_HORIZON or seconds since the epoch", start)
    return cast("Start", start)


def _hash_range(text: str) -> tuple[int, int]:
    parts = _RANGE.fullmatch(text)
    low, high = (int(part) for part in parts.groups()) if parts else (1, 0)
    if not low <= high <= MAX_HASH_KEY:
        raise ValueError(text)
    return low, high


def _packed(bits: bytes) -> bytes:
    """Deflate done bits: the gaps of a stuck key shrink to a tenth, and rows are billed by the KB."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(bits) + packer.flush()


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        bits = unpacker.decompress(bytes(packed), MAX_DONE_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof or unpacker.unused_data or not bits:
        raise ValueError(f"no end within {MAX_DONE_BYTES} bytes")
    return bits


def _short(shard: str) -> str:
    """Return the number of a shard that has the usual id; others as they are, marked where they look like one."""
    usual = _NUMBERED.fullmatch(shard)
    if usual:
        return str(int(usual[1]))
    return f"={shard}" if _SHORT.match(shard) else shard


def _long(text: str) -> str:
    """Return the id that `_short` made this of."""
    if text.startswith("="):
        return text[1:]
    return f"shardId-{int(text):012d}" if _SHORT.match(text) else text


def _levels(levels: tuple[int | None, ...]) -> bytes:
    """Return a byte for each level; 0 where there is none."""
    return bytes(0 if level is None else level + 1 for level in levels)


def _bucket(name: str, partitions: list[str]) -> str:
    """Return the partition key that a name falls to."""
    return partitions[int(digest_of(name)[:8], 16) % len(partitions)]


def _key(partition: str, sort: str) -> Item:
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def _number(value: int) -> Item:
    return {"N": str(value)}


def _moment(value: float | None) -> Item | None:
    return None if value is None else {"N": repr(value)}


def _text(value: str | None) -> Item | None:
    return None if value is None else {"S": value}


def _list(values: tuple[str, ...]) -> Item | None:
    return {"L": [{"S": value} for value in values]} if values else None


def _position(position: Position | None) -> Item | None:
    return None if position is None else {"S": position.stored()}


def _start(start: Start) -> Item:
    return {"N": repr(start.epoch)} if isinstance(start, Since) else {"S": start}


def _present(item: Item) -> Item:
    return {name: value for name, value in item.items() if value is not None}
