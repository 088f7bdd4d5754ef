"""Who owns a business key (rule 26). Pure: the table's conditions say the same (`aws/ledger.py`).

A claim names a record, so the record may run again after a crash, and the tenure under which it was made, so that a
late request of an owner who lost the shard changes nothing. Nobody guesses when a claim is out of date: it stands
until its record is a dead letter, or the ledger forgets it, long after the stream has forgotten the record.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Tenure(msgspec.Struct, frozen=True):
    """Under what right a shard's records are run."""

    space: str = ""
    """Whose epochs these are: workers', functions', one replay's or one redrive's. Those of two are not compared."""
    epoch: int = 0
    """Of the shard's row; of a delivery of Lambda, when it began: milliseconds since the epoch."""


class Claimant(msgspec.Struct, frozen=True):
    """A record that is about to be handled."""

    record: str
    """`Record.id`."""
    tenure: Tenure = Tenure()


class Anothers(msgspec.Struct, frozen=True):
    """Of a key that was claimed: it is another record's."""

    record: str = ""
    """`Record.id` of that one; empty where it is not told."""


Holding = Literal["mine", "newer"] | Anothers
"""Of a key that was claimed: it is this claimant's, durably; its record is already being run under a newer tenure, so
that this one is over; or it is another record's."""


class Claim(msgspec.Struct, frozen=True):
    """What the ledger knows of a key."""

    by: Claimant
    expires: float
    """Seconds since the epoch; from then on it is no claim."""
    released: bool = False
    """Whether its record became a dead letter: others may have the key, and that tenure may not have it again."""

    def holding(self, by: Claimant, *, now: float) -> Holding:
        """Say whose the key is when `by` claims it at this moment (seconds since the epoch)."""
        if self.expires <= now:
            return "mine"
        if self.by.record != by.record:
            return "mine" if self.released else Anothers(self.by.record)
        mine, there = by.tenure, self.by.tenure
        if mine.space != there.space or mine.epoch > there.epoch:
            return "mine"
        return "mine" if mine.epoch == there.epoch and not self.released else "newer"

    def yields(self, by: Claimant) -> bool:
        """Say whether `by` may release it: it is its record's claim, and of no newer tenure or other space."""
        mine, there = by.tenure, self.by.tenure
        return self.by.record == by.record and mine.space == there.space and mine.epoch >= there.epoch
