"""The catalogue of events: what streamkit says about itself. A contract: names and fields are tested and documented.

Names are `noun.participle`. No event carries payloads, keys, tokens or exception messages (rule 31): a key appears
as a short digest only, an exception as the name of its class.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. Fields have units in their names; the docstring says what it means."""

    name: ClassVar[str]
    level: ClassVar[Level] = "info"


class WorkerStarted(Event, frozen=True, kw_only=True):
    """A worker has registered its heartbeat row and begins to look for shards."""

    name = "worker.started"
    worker: str
    consumer: str
    stream: str
    table: str


class WorkerDraining(Event, frozen=True, kw_only=True):
    """The worker was asked to stop: it reads nothing more and finishes what is under way."""

    name = "worker.draining"
    worker: str
    cause: str


class WorkerStopped(Event, frozen=True, kw_only=True):
    """The worker has stopped. The counters are of this process, from its start."""

    name = "worker.stopped"
    worker: str
    received: int
    handled: int
    duplicates: int
    filtered: int
    dead: int
    retried: int
    received_bytes: int


class WorkerFenced(Event, frozen=True, kw_only=True):
    """No heartbeat was confirmed for 0.9 lease durations, or this worker was declared dead: it touches nothing more."""

    name = "worker.fenced"
    level = "warning"
    worker: str


class WorkerBuried(Event, frozen=True, kw_only=True):
    """Another worker's heartbeat stood still for longer than its lease: its shards are free."""

    name = "worker.buried"
    level = "warning"
    worker: str
    buried: str


class HealthOpened(Event, frozen=True, kw_only=True):
    """Health and metrics are served from now on: `/livez`, `/readyz` and `/metrics`."""

    name = "health.opened"
    address: str
    """Host and port, or `unix:` and a path."""


class ProcessStarted(Event, frozen=True, kw_only=True):
    """The supervisor has started a worker process."""

    name = "process.started"
    process: int
    """Which of the processes: 0 is the first."""
    pid: int


class ProcessCrashed(Event, frozen=True, kw_only=True):
    """A worker process ended without being asked to. It is started again; others take its shards over meanwhile."""

    name = "process.crashed"
    level = "error"
    process: int
    status: int
    """Its exit status; below zero is the signal that ended it."""
    restart_after_seconds: float


class ShardTaken(Event, frozen=True, kw_only=True):
    """This worker owns the shard from now on."""

    name = "shard.taken"
    shard: str
    epoch: int
    previous_owner: str | None
    frontier: str | None


class ShardsOffered(Event, frozen=True, kw_only=True):
    """This worker hands shards over to others, to even out what they bring (records a second), or their number."""

    name = "shards.offered"
    worker: str
    shards: tuple[str, ...]
    takers: tuple[str, ...]
    for_throughput: int
    """How many of them go for what they bring; the others for their number."""


class ShardReleased(Event, frozen=True, kw_only=True):
    """This worker has given the shard back, checkpointed."""

    name = "shard.released"
    shard: str
    epoch: int
    prefers: str | None = None


class ShardLost(Event, frozen=True, kw_only=True):
    """Another worker owns the shard: its handlers are stopped and nothing more is written."""

    name = "shard.lost"
    level = "warning"
    shard: str
    epoch: int


class ShardEnded(Event, frozen=True, kw_only=True):
    """Every record of a closed shard is settled; its children may start."""

    name = "shard.ended"
    shard: str
    children: tuple[str, ...]


class ShardPaused(Event, frozen=True, kw_only=True):
    """The circuit breaker is open: everything fails, so nothing is condemned. Holding the lease, probing."""

    name = "shard.paused"
    level = "warning"
    shard: str
    cause: str
    where: str
    """File and line that raised it, where there is one."""
    failing: int
    probe_after_seconds: float
    paused_seconds: float


class ShardResumed(Event, frozen=True, kw_only=True):
    """A probe succeeded: the shard goes on."""

    name = "shard.resumed"
    shard: str
    paused_seconds: float


class ShardHeldUp(Event, frozen=True, kw_only=True):
    """The oldest unsettled record has held the frontier up for over a minute; told once a minute."""

    name = "shard.held_up"
    level = "warning"
    shard: str
    sequence: str
    held_up_seconds: float
    waiting: int
    """Records between the frontier and the last one read in."""


class ShardHalted(Event, frozen=True, kw_only=True):
    """The shard stands still until a person acts."""

    name = "shard.halted"
    level = "error"
    shard: str
    cause: str


class ShardFailed(Event, frozen=True, kw_only=True):
    """The loop of a shard broke on an unexpected error. It is released and taken again."""

    name = "shard.failed"
    level = "error"
    shard: str
    error: str
    where: str
    """File and line of streamkit where it broke."""


class HoleNoticed(Event, frozen=True, kw_only=True):
    """No row that is not finished has these hash keys: a row was deleted, or a child never found. They are read again.

    Rows are made as they were last seen, or from the beginning: records may repeat, none is skipped.
    """

    name = "hole.noticed"
    level = "error"
    worker: str
    first: str
    """First hash key of the range, as a decimal number."""
    last: str
    shards: tuple[str, ...]
    """Shards whose rows are made for it; none while the listing has no shard with these keys."""


class RecordsTrimmed(Event, frozen=True, kw_only=True):
    """The stream dropped records of this shard before they were read. They are lost to this consumer."""

    name = "records.trimmed"
    level = "error"
    shard: str
    after: str | None
    """Sequence number of the last record settled before the gap, where there is one."""
    until: str | None
    """Sequence number of the first record read after it, where there is one."""


class RecordsAged(Event, frozen=True, kw_only=True):
    """What this shard has still to settle is older than half of the retention; told once a minute.

    At the end of the retention the service drops it, read or not.
    """

    name = "records.aged"
    level = "error"
    shard: str
    age_seconds: float
    retention_seconds: float


class StreamRenewed(Event, frozen=True, kw_only=True):
    """The table's stream was disabled and enabled again: it has a new label, and is read once the old one is.

    No stream has what was written to the table in between.
    """

    name = "stream.renewed"
    level = "warning"
    stream: str
    """Name of the table."""
    before: str
    """Label of the stream that was known."""
    label: str


class RecordRetried(Event, frozen=True, kw_only=True):
    """A handler failed on a record; it will be run again."""

    name = "record.retried"
    level = "warning"
    shard: str
    sequence: str
    subsequence: int
    attempt: int
    error: str
    where: str
    """File and line of the handler, or of what it called, that raised."""
    delay_seconds: float


class RecordCondemned(Event, frozen=True, kw_only=True):
    """A record is on its way to the dead-letter queue."""

    name = "record.condemned"
    level = "warning"
    shard: str
    sequence: str
    subsequence: int
    condition: str
    attempts: int
    error: str | None


class HandlerTimedOut(Event, frozen=True, kw_only=True):
    """A handler ran longer than its `handler_timeout` and was cancelled, or, in a thread, is being waited for."""

    name = "handler.timed_out"
    level = "warning"
    shard: str
    sequence: str
    timeout_seconds: float


class HandlerStuck(Event, frozen=True, kw_only=True):
    """A handler neither ended nor could be stopped: the process has to exit."""

    name = "handler.stuck"
    level = "error"
    shard: str
    sequence: str


class CheckpointWritten(Event, frozen=True, kw_only=True):
    """The frontier and what ran ahead of it are durable."""

    name = "checkpoint.written"
    level = "debug"
    shard: str
    frontier: str | None
    ahead: int
    """Records settled beyond the frontier."""
    took_seconds: float
    """From the start of the write until it was confirmed."""


class CheckpointDelayed(Event, frozen=True, kw_only=True):
    """The checkpoint table does not answer; the same write is sent again until it does."""

    name = "checkpoint.delayed"
    level = "warning"
    shard: str
    error: str
    delay_seconds: float


class LettersDelayed(Event, frozen=True, kw_only=True):
    """The dead-letter queue does not take letters; their records stay unsettled and it is tried again."""

    name = "letters.delayed"
    level = "error"
    shard: str
    letters: int
    error: str
    delay_seconds: float


class LetterTruncated(Event, frozen=True, kw_only=True):
    """A payload is over the queue's limit: its letter holds the position to read it again, not the payload."""

    name = "letter.truncated"
    level = "error"
    shard: str
    sequence: str
    bytes: int
    limit_bytes: int


class LetterSpilled(Event, frozen=True, kw_only=True):
    """A payload is over the queue's limit: it is in the consumer's bucket, and its letter, just sent, says where."""

    name = "letter.spilled"
    level = "info"
    shard: str
    sequence: str
    bytes: int


class SuccessesDelayed(Event, frozen=True, kw_only=True):
    """The queue for successes takes none; their records stay unsettled and it is tried again."""

    name = "successes.delayed"
    level = "error"
    shard: str
    successes: int
    error: str
    delay_seconds: float


class ReadDelayed(Event, frozen=True, kw_only=True):
    """The stream does not answer, or throttles; reading is tried again from the same position."""

    name = "read.delayed"
    level = "warning"
    shard: str
    error: str
    delay_seconds: float


class PushStarted(Event, frozen=True, kw_only=True):
    """Records of the stream are pushed to this process (enhanced fan-out): at first, or again."""

    name = "push.started"
    stream: str
    consumer: str
    """Name of the stream consumer."""


class PushRefused(Event, frozen=True, kw_only=True):
    """Records are not to be had pushed; they are polled, and fan-out is tried again later. Said once.

    `cause` is one of: denied (see docs/permissions.md), limit (the stream has as many consumers as it may have),
    unsupported (the endpoint knows no fan-out), not active, unanswered, in use (somebody else subscribes under this
    name), broken (connections end without bringing anything), connections (this process holds as many as it may).
    """

    name = "push.refused"
    level = "warning"
    stream: str
    consumer: str
    """Name of the stream consumer."""
    shard: str | None
    """The one shard it is about; None is for all."""
    cause: str
    again_seconds: float
    """Until fan-out is tried again."""


class CoordinationDelayed(Event, frozen=True, kw_only=True):
    """Table or stream did not answer a worker that looked at its shards; leases go on, tried again at the next tick."""

    name = "coordination.delayed"
    level = "warning"
    worker: str
    error: str


class DeliverySettled(Event, frozen=True, kw_only=True):
    """A function has settled every record of a shard that one invocation brought."""

    name = "delivery.settled"
    level = "debug"
    shard: str
    handled: int
    duplicates: int
    filtered: int
    dead: int
    retried: int


class DeliveryUnsettled(Event, frozen=True, kw_only=True):
    """A function gives records of a shard back to its mapping, which delivers them again."""

    name = "delivery.unsettled"
    level = "warning"
    shard: str
    sequence: str
    """Of the first one."""
    unsettled: int
    cause: str
    """deadline, outage, halted, twin (another invocation has them), table, fenced, or stuck (the process exits)."""


class DeliveryDeferred(Event, frozen=True, kw_only=True):
    """Another invocation claims some of these records and may be at work: this one waits for it."""

    name = "delivery.deferred"
    shard: str
    sequence: str
    """Of the first record."""


class DeliveryDied(Event, frozen=True, kw_only=True):
    """The invocation that had these records before ended without a word: killed, or out of time."""

    name = "delivery.died"
    level = "warning"
    shard: str
    sequence: str
    """Of the first record."""
    deaths: int
    """In a row, without progress."""
    suspects: int
    """Records that were under way; 0 if it may have been any."""


class ShardQuarantined(Event, frozen=True, kw_only=True):
    """Owners of the shard died one after the other without progress: one of its records may have killed them.

    They are tried in steps, so that it is found. It is dead-lettered alone, as `ProcessDied`.
    """

    name = "shard.quarantined"
    level = "warning"
    shard: str
    deaths: int
    """In a row, as far as the row tells."""
    suspects: int
    """Records to try, at most."""


class WardDied(Event, frozen=True, kw_only=True):
    """The process in which suspects are tried died; the worker did not. A record under way, if any was, killed it."""

    name = "ward.died"
    level = "warning"
    shard: str
    how: str
    """Exit status, or signal."""
    tried: int
    """Records that were under way: the suspects now. None, if nothing ran in it."""


class WardMissed(Event, frozen=True, kw_only=True):
    """No process could be had to try suspects in: they are tried in the worker itself, which may die of them."""

    name = "ward.missed"
    level = "warning"
    shard: str
    why: str


class QuarantineEnded(Event, frozen=True, kw_only=True):
    """All that was suspected is settled: the shard is run as ever."""

    name = "quarantine.ended"
    shard: str


class MemoryDelayed(Event, frozen=True, kw_only=True):
    """The table does not answer a function; the same request is sent again while there is time."""

    name = "memory.delayed"
    level = "warning"
    shard: str
    error: str
    delay_seconds: float


class EndpointOverridden(Event, frozen=True, kw_only=True):
    """An endpoint other than AWS's own is in force."""

    name = "endpoint.overridden"
    level = "warning"
    service: str
    url: str


def catalogue() -> dict[str, type[Event]]:
    """Return every event by its name."""
    return {event.name: event for event in Event.__subclasses__()}
