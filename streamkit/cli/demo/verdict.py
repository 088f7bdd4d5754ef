"""The verdict: does what is there add up? A pure function of the evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from streamkit.cli.demo.evidence import Evidence, Row

LATE_MINUTES = 15
_TAKEN_OVER = "the dead worker's shards went on"
_FIGURE = re.compile(r"\d+")
_SHOWN = 3
"""Of what is wrong, how much is named."""


class Check(msgspec.Struct, frozen=True):
    """One thing that has to hold."""

    claim: str
    figures: str
    wrong: tuple[str, ...] = ()
    """What contradicts it."""

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts it."""
        return not self.wrong

    def objection(self) -> str:
        """Say what contradicts it, the first few by name."""
        more = f" and {len(self.wrong) - _SHOWN} more" if len(self.wrong) > _SHOWN else ""
        return f"{'; '.join(self.wrong[:_SHOWN])}{more}"


class Total(msgspec.Struct, frozen=True):
    """The statistics of one carrier."""

    flights: int = 0
    cancelled: int = 0
    late: int = 0
    delay_minutes: int = 0

    def __add__(self, other: Total) -> Total:
        """Add them up."""
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Total(*(one + more for one, more in zip(mine, others, strict=True)))


class Verdict(msgspec.Struct, frozen=True):
    """What came of the run."""

    put: int
    handled: int
    duplicates: int
    dead: int
    checks: tuple[Check, ...]
    carriers: dict[str, Total]
    reasons: dict[str, int]
    """How many records were dead-lettered, by reason."""

    @property
    def holds(self) -> bool:
        """Whether everything adds up."""
        return all(check.holds for check in self.checks)

    @property
    def lost(self) -> int:
        """Records put that are nowhere."""
        return self.put - self.handled - self.duplicates - self.dead

    @property
    def sentence(self) -> str:
        """The last line of the demo."""
        sum_ = f"{self.handled} handled + {self.duplicates} duplicates + {self.dead} dead-lettered"
        return f"{'' if self.holds else 'not '}conserved: {self.put} put = {sum_}, {self.lost} lost"


def judge(evidence: Evidence) -> Verdict:
    """Classify every record put, and check what was promised."""
    fates = _Fates(evidence)
    return Verdict(
        put=len(evidence.put),
        handled=len(fates.handled),
        duplicates=len(fates.duplicates),
        dead=len(fates.dead),
        checks=(
            _all_put(evidence),
            _accounted(evidence, fates),
            _settled(evidence),
            _statistics(evidence),
            _order(evidence),
            _only_bad(evidence, fates),
            _repeats(evidence),
            _killed(evidence),
        ),
        carriers=_totals(evidence.rows),
        reasons=_reasons(evidence),
    )


def _reasons(evidence: Evidence) -> dict[str, int]:
    """Count the dead by reason; reasons that differ in a figure only are one, told as the first was."""
    reasons = {letter.record.id: letter.reason for letter in evidence.letters}.values()
    counts = Counter(_FIGURE.sub("#", reason) for reason in reasons)
    first = {_FIGURE.sub("#", reason): reason for reason in reversed(list(reasons))}
    return {first[pattern]: count for pattern, count in counts.most_common()}


class _Fates:
    """What became of the records put, by id."""

    def __init__(self, evidence: Evidence) -> None:
        payloads = {record.id: record.data for record in evidence.put}
        effects = {each for row in evidence.rows for each in row.records}
        self.handled = effects & payloads.keys()
        self.dead = {letter.record.id for letter in evidence.letters} & payloads.keys()
        self.duplicates = {
            id_
            for id_, claimant in evidence.claims.items()
            if id_ in payloads and claimant != id_ and claimant in effects and payloads.get(claimant) == payloads[id_]
        }
        self.strangers = (effects | {letter.record.id for letter in evidence.letters}) - payloads.keys()


def _all_put(evidence: Evidence) -> Check:
    there = Counter(record.data for record in evidence.put)
    missing = [f"not in the stream: {_short(line)}" for line in evidence.flights if not there[line]]
    ids = {record.id for record in evidence.put}
    vanished = [
        f"acknowledged, but not in the stream: {each}" for each in map(_name, sorted(evidence.acknowledged - ids))
    ]
    again = sum(count - 1 for line in evidence.flights if (count := there[line]))
    return Check(
        "every flight is in the stream",
        f"{len(evidence.flights):,} flights, {again:,} twice",
        (*missing, *vanished),
    )


def _accounted(evidence: Evidence, fates: _Fates) -> Check:
    wrong = [
        f"neither handled nor a duplicate nor dead-lettered: {each}" for each in map(_name, sorted(fates.strangers))
    ]
    for record in evidence.put:
        found = [
            name
            for name, ids in (
                ("handled", fates.handled),
                ("a duplicate", fates.duplicates),
                ("dead-lettered", fates.dead),
            )
            if record.id in ids
        ]
        if len(found) != 1:
            wrong.append(f"{' and '.join(found) or 'lost'}: {_name(record.id)}")
    return Check("every record put has one fate", f"{len(evidence.put):,} records", tuple(wrong))


def _settled(evidence: Evidence) -> Check:
    """Compare the frontiers of the checkpoint table with the last records of the stream."""
    last = {record.shard: record.sequence for record in evidence.put}
    frontiers = {row.id: row.progress.frontier for row in evidence.shards}
    wrong = [
        f"{shard} is settled up to {_end(frontier.sequence_number if frontier else '')}, not to {_end(str(sequence))}"
        for shard, sequence in last.items()
        if (frontier := frontiers.get(shard)) is None or int(frontier.sequence_number) != sequence
    ]
    return Check("every shard is settled to its end", f"{len(last)} shards", tuple(wrong))


def _statistics(evidence: Evidence) -> Check:
    """Compare the table with a computation from the file that shares no code with the consumer."""
    kept, expected = _totals(evidence.rows), _expected(evidence.flights)
    wrong = tuple(
        f"{carrier}: expected {expected.get(carrier)}, got {kept.get(carrier)}"
        for carrier in sorted(kept.keys() | expected.keys())
        if kept.get(carrier) != expected.get(carrier)
    )
    return Check("the statistics equal the file's", f"{len(expected)} carriers, {len(evidence.rows):,} rows", wrong)


def _totals(rows: Iterable[Row]) -> dict[str, Total]:
    totals: dict[str, Total] = {}
    for row in rows:
        mine = Total(len(row.records), row.cancelled, row.late, row.delay_minutes)
        totals[row.carrier] = totals.get(row.carrier, Total()) + mine
    return totals


def _expected(flights: Sequence[bytes]) -> dict[str, Total]:
    totals: dict[str, Total] = {}
    for line in flights:
        flight: dict[str, Any] = msgspec.json.decode(line)
        delay, cancelled = flight["arr_delay"], flight["dep_time"] is None
        if delay is not None or cancelled:
            mine = Total(1, int(cancelled), int((delay or 0) >= LATE_MINUTES), delay or 0)
            totals[flight["carrier"]] = totals.get(flight["carrier"], Total()) + mine
    return totals


def _order(evidence: Evidence) -> Check:
    """Compare the order of effects, as each row lists it, with the order of the stream."""
    place = {record.id: (record.shard, record.sequence) for record in evidence.put}
    nowhere = ("", 0)
    wrong = tuple(
        f"{row.carrier} {row.month_aircraft} had its effects in another order than the stream"
        for row in evidence.rows
        if list(row.records) != sorted(row.records, key=lambda each: place.get(each, nowhere))
    )
    several = sum(len(row.records) > 1 for row in evidence.rows)
    return Check("each aircraft's order is kept", f"{several:,} with several flights", wrong)


def _only_bad(evidence: Evidence, fates: _Fates) -> Check:
    """Compare the dead with what is bad by the file: damaged payloads, and landings nobody timed."""
    lines = set(evidence.flights)
    bad = {record.id for record in evidence.put if record.data not in lines or _untimed(record.data)}
    wrong = (
        *(f"bad, but not dead-lettered: {each}" for each in map(_name, sorted(bad - fates.dead))),
        *(f"good, but dead-lettered: {each}" for each in map(_name, sorted(fates.dead - bad))),
    )
    return Check("only bad records are dead letters", f"{len(fates.dead):,} of {len(bad):,} bad ones", wrong)


def _untimed(line: bytes) -> bool:
    flight: dict[str, Any] = msgspec.json.decode(line)
    return flight["dep_time"] is not None and flight["arr_delay"] is None


def _repeats(evidence: Evidence) -> Check:
    effects = Counter(each for row in evidence.rows for each in row.records)
    wrong = tuple(f"had its effect {count} times: {_name(each)}" for each, count in effects.items() if count > 1)
    repeats = sum(row.repeats for row in evidence.rows)
    letters = Counter(letter.record.id for letter in evidence.letters)
    again = sum(letters.values()) - len(letters)
    figures = f"{repeats:,} deliveries, {again} letters repeated"
    return Check("repeats by the kill had no effect", figures, wrong)


def _killed(evidence: Evidence) -> Check:
    """See in the checkpoint table that the killed worker was declared dead, and that others went on with its shards."""
    victim = next((member for member in evidence.members if member.worker == evidence.victim), None)
    if victim is None or victim.state != "dead":
        found = victim.state if victim else "without a row"
        return Check(_TAKEN_OVER, "", (f"expected {evidence.victim} declared dead, got it {found}",))
    survivors = [member.worker for member in evidence.members if member.state == "left"]
    wrong = () if survivors else ("expected a worker that left in order, got none",)
    return Check(_TAKEN_OVER, f"{len(victim.holds)} of {len(evidence.shards)} shards", wrong)


def _name(id_: str) -> str:
    """Return what a person can tell a record by."""
    _, shard, number, _ = id_.split(":")
    return f"{shard} {_end(number)}"


def _end(number: str) -> str:
    return f"...{number[-12:]}"


def _short(line: bytes) -> str:
    return line[:60].decode(errors="replace")
