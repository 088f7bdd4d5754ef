"""Dead letters, sorted for whoever works them off: which are wanted, and in which order they may run.

Letters of one key run in stream order. A queue does not keep it, so letters are gathered first. A `Parked` letter runs
only if none of its key stays before it: that is what parking is for (rules 21, 30).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from streamkit.core.letters import Condition, Letter
from streamkit.core.settlement import digest

HANDLE = 12
"""Hexadecimal digits by which a letter is called."""


def handle(letter: Letter) -> str:
    """Return the short name of a letter: the beginning of its `requestContext.requestId`."""
    return sha256(letter.record.id.encode(errors="backslashreplace")).hexdigest()[:HANDLE]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant. None means any; all that is said has to hold."""

    reason: str | None = None
    """Part of the reason, in any case of letters."""
    condition: Condition | None = None
    shard: str | None = None
    key: str | None = None
    """The key itself, or its digest."""
    letter: str | None = None
    """The beginning of its handle."""
    since: float | None = None
    """Condemned at or after this moment: seconds since the epoch."""
    until: float | None = None
    """Condemned before it."""

    def __call__(self, letter: Letter) -> bool:
        """Say whether a letter is meant."""
        record = letter.record
        return all(
            (
                self.reason is None or self.reason.casefold() in letter.reason.casefold(),
                self.condition in (None, letter.verdict.condition),
                self.shard in (None, record.shard),
                self.key is None or self.key in (record.key, digest(record.key)),
                self.letter is None or handle(letter).startswith(self.letter.lower()[:HANDLE]),
                self.since is None or letter.condemned >= self.since,
                self.until is None or letter.condemned < self.until,
            )
        )

    @property
    def all(self) -> bool:
        """Say whether nothing is left out."""
        return self == Wanted()


def in_order(letters: Iterable[Letter]) -> list[list[Letter]]:
    """Return the letters of each shard, in stream order; shards by their first arrival, so parents before children."""
    shards: defaultdict[object, list[Letter]] = defaultdict(list)
    for letter in letters:
        shards[letter.record.origin].append(letter)
    for each in shards.values():
        each.sort(key=lambda letter: (letter.record.sequence, letter.record.subsequence))
    return sorted(shards.values(), key=_first_arrival)


def _first_arrival(letters: Sequence[Letter]) -> tuple[float, str]:
    return min(letter.record.arrived for letter in letters), letters[0].record.shard


def runnable(letters: Iterable[Letter], wanted: Wanted) -> list[list[Letter]]:
    """Return what may run, in order: the wanted, less the parked ones with an earlier letter of their key left out."""
    skipped: set[str] = set()
    runs: list[list[Letter]] = []
    for shard in in_order(letters):
        run: list[Letter] = []
        for letter in shard:
            parked = letter.verdict.condition == "Parked"
            if wanted(letter) and not (parked and letter.record.key in skipped):
                run.append(letter)
            else:
                skipped.add(letter.record.key)
        if run:
            runs.append(run)
    return runs


def counted(letters: Sequence[Letter]) -> list[tuple[int, Condition, str]]:
    """Return how often each condition and reason occur, most often first."""
    found: defaultdict[tuple[Condition, str], int] = defaultdict(int)
    for letter in letters:
        found[letter.verdict.condition, letter.reason] += 1
    return sorted(((number, *what) for what, number in found.items()), key=lambda each: (-each[0], each[1:]))


def keys(letters: Sequence[Letter]) -> list[tuple[int, str]]:
    """Return how many letters each key has, by its digest, most first."""
    found: defaultdict[str, int] = defaultdict(int)
    for letter in letters:
        found[digest(letter.record.key)] += 1
    return sorted(((number, name) for name, number in found.items()), key=lambda each: (-each[0], each[1]))
