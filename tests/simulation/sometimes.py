"""What a campaign has to have seen at least once: every fault, and every way to recover (rule 34)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamkit.testing.simulation import keys, modes, wards
from streamkit.testing.simulation.mix import CHANGED, PUSHED

if TYPE_CHECKING:
    from collections.abc import Collection, Container

FAULTS = (
    "answer lost: add",
    "answer lost: beat",
    "answer lost: bury",
    "answer lost: join",
    "answer lost: register",
    "answer lost: send",
    "answer lost: take",
    "answer lost: write",
    "blackout",
    "clock askew",
    "clock drifts",
    "deploy",
    "effect unheard",
    "handler bad",
    "handler flaky",
    "handler hanging",
    "handler killer",
    "handler poison",
    "handler slow",
    "handler.timed_out",
    "join",
    "killed at random",
    "killed before beat",
    "killed before effect",
    "killed before join",
    "killed before list",
    "killed before members",
    "killed before read",
    "killed before recorded",
    "killed before register",
    "killed before rows",
    "killed before send",
    "killed before take",
    "killed before write",
    "killed blackout",
    "killed by a record",
    "late: add",
    "late: beat",
    "late: bury",
    "late: join",
    "late: register",
    "late: take",
    "late: write",
    "leave",
    "letters refused",
    "listing failed",
    "listing grown stale",
    "merge",
    "queue down",
    "read lost",
    "read refused: ExpiredIteratorException",
    "read refused: InternalFailureException",
    "read refused: ProvisionedThroughputExceededException",
    "records read again",
    "request throttled",
    "sink down",
    "split",
    "stopped at random",
    "stopped before beat",
    "stopped before effect",
    "stopped before join",
    "stopped before list",
    "stopped before members",
    "stopped before read",
    "stopped before rows",
    "stopped before send",
    "stopped before take",
    "stopped before write",
    "stopped while the stream is made again",
    "stream remade",
    "table outage",
    "way slow",
)
"""Shares of requests and happenings that `Rates` names, and what else a mix draws."""

RECOVERIES = (
    "a move for throughput",
    "buried the dead",
    "buried the living",
    "checkpoint.delayed",
    "coordination.delayed",
    "forgot who died",
    "handler.stuck",
    "heartbeat of the dead refused",
    "killed stuck",
    "letter Parked",
    "letter Poison",
    "letter ProcessDied",
    "letter RetryAttemptsExhausted",
    "letters.delayed",
    "quarantine.ended",
    "read the child of a merge",
    "record.retried",
    "records.trimmed",
    "refused unheard: beat",
    "refused unheard: take",
    "refused unheard: write",
    "repeat",
    "retook what a lost answer left",
    "sent a write again that was applied",
    "several moves in one plan",
    "shard.ended",
    "shard.lost",
    "shard.paused",
    "shard.quarantined",
    "shard.released",
    "shard.resumed",
    "shards.offered",
    "stopped for another stream",
    "took another's",
    "took over what ran ahead",
    "took what was released for it",
    "worker.buried",
    "worker.fenced",
)
"""Ways of the product to get over them."""

RARE = (
    "forgot who left",
    "killed before add",
    "killed before bury",
    "records.aged",
    "repeat after the grace",
    "repeat over a trimmed gap",
    "shard.held_up",
    "stopped before add",
    "stopped before bury",
    "stopped before recorded",
    "stopped before register",
)
"""Faults, recoveries, and what the referee excuses, that only a few seeds in a thousand show."""


class Wanted(NamedTuple):
    """What so many seeds of a range must have shown."""

    of: range
    seeds: int
    names: Collection[str]


WANTED = (
    Wanted(range(modes.FROM), 1_000, (*FAULTS, *RECOVERIES)),
    Wanted(range(modes.FROM), 10_000, RARE),
    Wanted(
        range(modes.FROM, modes.READING.start),
        200,
        (
            "answer lost: commit",
            "late: commit",
            "letter Interrupted",
            "sent a transaction again that was applied",
        ),
    ),
    Wanted(
        modes.READING,
        200,
        (
            "answer lost: commit",
            "late: commit",
            "sent a transaction again that was applied",
        ),
    ),
    Wanted(
        range(CHANGED, PUSHED),
        200,
        (
            "read lost",
            "records read again",
            "roll",
            "shard.ended",
            "split",
            "stream.renewed",
        ),
    ),
    Wanted(
        range(PUSHED, keys.FROM),
        200,
        (
            "connection broken",
            "connection silent",
            "push.started",
            "records.trimmed",
            "shard.ended",
            "stopped for another stream",
        ),
    ),
    Wanted(
        range(keys.FROM, wards.FROM),
        200,
        (
            "answer lost: claim",
            "key is another's",
            "key released",
            "took what was released for it",
        ),
    ),
    Wanted(
        range(wards.FROM, 2 * wards.FROM),
        200,
        (
            "killed by a record",
            "letter ProcessDied",
            "quarantine.ended",
            "ward killed",
            "ward.died",
            "ward.missed",
        ),
    ),
)
"""Those of a polled stream, of the other modes, of the other sources, of business keys, and of wards."""


def never_seen(seen: Container[str], seeds: Collection[int]) -> list[str]:
    """Return what these seeds should have shown, and did not."""
    return [
        name
        for wanted in WANTED
        if sum(seed in wanted.of for seed in seeds) >= wanted.seeds
        for name in wanted.names
        if name not in seen
    ]
