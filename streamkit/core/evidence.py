"""Poison or outage? What failures and successes of one shard say about each other (rule 20).

A failure alone proves nothing: the record may be bad, or the world. A success elsewhere, after it, says the world
works. So a record that has used up its attempts is

- condemned, if something else succeeded since it first failed and no fresh failure speaks against it;
- a sign of an outage, if other records failed too and nothing succeeded since;
- kept waiting, while another record could still be tried and tell;
- condemned, if there is nothing else to try: a lone bad record on a quiet shard.

Its last attempt is kept for the time after another record's success, if one can still be had: an outage shorter than
a handler takes would otherwise leave only failures to judge by.

Attempts made during an outage do not count; each outage survived counts as one.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Verdict(Enum):
    """What to do about a record that failed."""

    RETRY = "retry"
    WAIT = "wait"
    CONDEMN = "condemn"
    OUTAGE = "outage"


class Series:
    """The failures of one record."""

    __slots__ = ("before", "failures", "outages", "total", "witnessed")

    def __init__(self, inherited: int = 0) -> None:
        self.failures = inherited
        """Since the record came in, or since the last outage."""
        self.total = inherited
        self.before = 0
        """Of `total`, those before the last outage was over."""
        self.outages = 0
        """Outages it failed in and others survived."""
        self.witnessed = False
        """Whether another record succeeded since the first of `failures`."""


SEVERAL = 3
"""So many different failures without a success are an outage even where some of them are in the queue already."""


class Evidence:
    """Failing records of one shard, by ordinal. False once none is failing, or was, and something succeeded since."""

    def __init__(self, *, attempts: int, early: int) -> None:
        self._attempts = attempts
        self._early = early
        self._failing: dict[int, Series] = {}
        self._since_success: set[int] = set()
        self.inherited: dict[int, int] = {}
        """Failures from before, where another process tried the record; they count once it fails here too."""

    def __bool__(self) -> bool:
        return bool(self._failing or self._since_success or self.inherited)

    def __iter__(self) -> Iterator[int]:
        return iter(self._failing)

    def __contains__(self, ordinal: int) -> bool:
        return ordinal in self._failing

    def __len__(self) -> int:
        return len(self._failing)

    def attempts(self, ordinal: int) -> int:
        """Return how often the record has failed."""
        series = self._failing.get(ordinal)
        return series.total if series else self.inherited.get(ordinal, 0)

    def counted(self) -> dict[int, int]:
        """Return the failures that count at present, of every failing record, inherited ones included."""
        return self.inherited | {ordinal: series.failures for ordinal, series in self._failing.items()}

    def failures(self, ordinal: int) -> int:
        """Return how many failures count at present."""
        return self._failing[ordinal].failures

    def failed(self, ordinal: int, *, counts: bool) -> None:
        """Note a failed attempt; during an outage it does not count."""
        series = self._failing.get(ordinal)
        if series is None:
            series = self._failing[ordinal] = Series(self.inherited.pop(ordinal, 0))
        series.total += 1
        if counts:
            series.failures += 1
        self._since_success.add(ordinal)

    def exhaust(self, ordinal: int) -> None:
        """Use up the attempts of a record that is too old for more."""
        self._failing[ordinal].failures = self._attempts

    def succeeded(self) -> None:
        """Note that some record succeeded: the world works."""
        self._since_success.clear()
        for series in self._failing.values():
            series.witnessed = True

    def forget(self, ordinal: int) -> None:
        """The record is settled or condemned; that it failed still counts until something succeeds."""
        self.inherited.pop(ordinal, None)
        self._failing.pop(ordinal, None)

    def acquit(self, ordinal: int) -> None:
        """The record succeeded or named itself poison: its failures say nothing about the world."""
        self.inherited.pop(ordinal, None)
        self._failing.pop(ordinal, None)
        self._since_success.discard(ordinal)

    def restart(self, *, survived: bool) -> None:
        """An outage is over (`survived`), or has lasted too long: every failing record gets fresh attempts.

        It counts against who failed in it or on the way into it, not against an attempt that has lasted since before.
        """
        self._since_success.clear()
        for series in self._failing.values():
            series.failures = 0
            series.witnessed = False
            series.outages += survived and series.total > series.before
            series.before = series.total

    def exhausted(self, ordinal: int) -> bool:
        """Say whether the record has no attempts left."""
        series = self._failing[ordinal]
        return max(series.failures, series.outages) >= self._attempts

    def keeps_last(self, ordinal: int) -> bool:
        """Say whether one attempt is left and no success since the first one has shown yet that the world works."""
        series = self._failing[ordinal]
        return not series.witnessed and 0 < series.failures == self._attempts - 1

    def is_outage(self) -> bool:
        """Say whether so many records failed since the last success that no verdict is needed to pause."""
        return (
            sum(not self._failing[each].witnessed for each in self._since_success if each in self._failing)
            >= self._early
        )

    def verdict(self, ordinal: int, *, others: bool) -> Verdict:
        """Judge a failing record. `others` says whether a record that has not failed could still be tried."""
        if not self.exhausted(ordinal):
            return Verdict.WAIT if others and self.keeps_last(ordinal) else Verdict.RETRY
        mine = self._failing[ordinal]
        against = any(not series.witnessed for other, series in self._failing.items() if other != ordinal)
        if mine.outages >= self._attempts or (mine.witnessed and not against):
            return Verdict.CONDEMN
        if mine.witnessed or others:
            return Verdict.WAIT
        live = sum(each in self._failing for each in self._since_success)
        return Verdict.OUTAGE if live > 1 or len(self._since_success) >= SEVERAL else Verdict.CONDEMN
