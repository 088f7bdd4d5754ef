"""Protocol rules broken on purpose in a copy of the package, for `tests.simulation.hunt` to hunt."""

from __future__ import annotations

from dataclasses import dataclass

from streamkit.testing.simulation import keys, modes
from streamkit.testing.simulation.mix import CHANGED, PUSHED
from streamkit.testing.simulation.wards import FROM as WARDED
from tests.mutants import catalogue
from tests.mutants.catalogue import Mutant, Patch, mutant


@dataclass(frozen=True, kw_only=True)
class Prey:
    """A mutant, and which seeds may show it: an expression over their `mix` and its `rates`."""

    mutant: Mutant
    matters: str = "True"
    first: int = 0
    """Where its seeds begin: those of another source are apart."""

    @property
    def name(self) -> str:
        """The mutant's."""
        return self.mutant.name

    @property
    def chosen(self) -> bool:
        """Whether seeds are left out: then the first that shows it may be later than the first of all."""
        return self.matters != "True" or self.first > 0


def shared(name: str) -> Mutant:
    """Return the mutant of this name that unit tests catch too."""
    return next(each for each in catalogue.MUTANTS if each.name == name)


_BROKEN: tuple[Mutant, ...] = (
    mutant(
        "any refusal is taken for success",
        "1",
        "runtimes/lease.py",
        "            if refused.row is not None and refused.row.token == wanted.token:\n",
        "            if refused.row is not None:\n",
    ),
    mutant(
        "a refusal of one's own applied write is taken for a loss",
        "1",
        "runtimes/lease.py",
        "            if refused.row is not None and refused.row.token == wanted.token:\n",
        "            if refused.row is None:\n",
    ),
    mutant(
        "unconditional checkpoint",
        "1",
        "testing/memory/table.py",
        "(row.owner, row.epoch, row.revision) != (held.owner, held.epoch, held.revision)",
        "row.revision < 0",
    ),
    mutant(
        "suspicion before the fence",
        "2",
        "core/leasing.py",
        "SUSPICION = 1.05\n",
        "SUSPICION = 0.5\n",
    ),
    shared("suspicion counted from when it was asked"),
    mutant(
        "burial whatever the counter",
        "2",
        "testing/memory/table.py",
        'if row.state == "alive" and row.counter == seen.counter:',
        'if row.state == "alive":',
    ),
    mutant(
        "the dead go on beating",
        "2",
        "testing/memory/table.py",
        '        row = self.worker_rows.get(member.worker)\n        if row is None or row.state != "alive":\n'
        "            raise _declared_dead(member, row)\n        self.worker_rows[member.worker] = member\n",
        "        self.worker_rows[member.worker] = member\n",
    ),
    shared("fence ignored"),
    shared("fence counted from the answer"),
    shared("take without raising the epoch"),
    shared("a row that names me is left alone"),
    shared("a newer write on a guess"),
    mutant(
        "whose heartbeat row was not seen yet is robbed",
        "6",
        "runtimes/lookout.py",
        "        if all(row.owner is None or row.owner in known for row in self.shards):\n",
        "        if known is not None:\n",
    ),
    mutant(
        "the living are robbed",
        "6",
        "core/leasing.py",
        "    return row.owner is None or row.owner not in alive\n",
        "    return row.id is not None\n",
    ),
    shared("a drain that does not release"),
    mutant(
        "a hand-over without a checkpoint",
        "7",
        "runtimes/shard.py",
        "            await self._checkpoints.write(owner=None, prefers=self._prefers)\n",
        "            await self.lease.write(owner=None, prefers=self._prefers)\n",
    ),
    shared("a peak is passed on whole"),
    shared("moves under way set others in motion"),
    Mutant(
        name="the hysteresis of balancing is gone",
        rule="6",
        patches=tuple(
            Patch(file="core/balance.py", old=f"{name} = {value}\n", new=f"{name} = 0.0\n")
            for name, value in (("STICKY", "0.75"), ("CLEAR", "0.25"), ("FINE", "0.1"), ("LEAST", "1.0"))
        ),
        tests=(),
    ),
    shared("a tombstone is removed too early"),
    shared("a retry overlaps a timed-out attempt"),
    mutant(
        "a shard is let go while an attempt runs",
        "8",
        "runtimes/shard.py",
        "        self._leave_trial()\n        if self._working is not None:\n            self._working.cancel()\n",
        "        self._leave_trial()\n        if self._working is not None:\n            self._working.cancel()\n"
        "            self._early = None if self._working.done() else asyncio.create_task(self._finish())\n",
    ),
    mutant(
        "a child does not wait for its parents",
        "11",
        "core/leasing.py",
        '        if (known is None and parent in listed) or (known is not None and known.state != "ended"):\n',
        "        if known is None and parent in listed:\n",
    ),
    Mutant(
        name="a parent that a stale listing lacks is called finished",
        rule="11",
        patches=(
            Patch(
                file="runtimes/coordinator.py",
                old="listed=frozenset(self._listed) | (self._parents_without_row() - self._finished),",
                new="listed=frozenset(self._listed),",
            ),
            Patch(
                file="runtimes/coordinator.py",
                old="if now < self._listing_due and self._shards and not orphaned and not self._audit.wants_listing():",
                new="if now < self._listing_due and self._shards and orphaned is not None:",
            ),
        ),
        tests=(),
    ),
    mutant(
        "a stream enabled again is read beside the one before",
        "11",
        "core/lineage.py",
        "replace(each, parents=(crossing.id,)) if last and not each.parents else each for each in shards",
        "each for each in shards",
    ),
    mutant(
        "a child's row that exists cancels its other parent's end",
        "12",
        "testing/memory/table.py",
        "            raise Refused(row)\n        self.shard_rows[held.id] = wanted\n",
        "            raise Refused(row)\n        if any(child.id in self.shard_rows for child in children):\n"
        "            raise Refused(row)\n        self.shard_rows[held.id] = wanted\n",
    ),
    mutant(
        "a stream that is gone is taken for a shard's end",
        "13",
        "runtimes/reading.py",
        "            if not await self._terms.is_trimmed(self._row.id):\n                raise\n",
        "",
    ),
    shared("shards are taken without asking whose they are"),
    mutant(
        "the positions of an earlier stream are taken for another's",
        "13",
        "runtimes/crew.py",
        "        same_stream(found.stream, stream, table=consumer.table)\n",
        "",
    ),
    mutant(
        "a gap goes unreported",
        "14",
        "runtimes/gaps.py",
        "now - self._seen > self._retention",
        "now - self._seen > 1e12",
    ),
    shared("heirs of what nobody knows begin as in a first snapshot"),
    shared("LATEST resolved anew after a crash"),
    shared("checkpoint before dead letter"),
    shared("frontier passes what is unsettled"),
    mutant(
        "a renewed subscription begins after its continuation",
        "16",
        "aws/fan_out_reader.py",
        'return {"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": self._continuation}',
        'return {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._continuation}',
    ),
    shared("done set ignored at takeover"),
    shared("done set forgotten by the successor's first checkpoint"),
    shared("done bits kept though their records were trimmed"),
    mutant(
        "checkpoints come late",
        "18",
        "runtimes/checkpoints.py",
        "        due = self._clock.monotonic() + self._terms.checkpoint.interval.total_seconds()\n",
        "        due = self._clock.monotonic() + 20.0 + self._terms.checkpoint.interval.total_seconds()\n",
    ),
    mutant(
        "a checkpoint that is refused waits for a minute",
        "18",
        "runtimes/lease.py",
        "            await self._leases.write(self.row, wanted, children=step.children)\n",
        "            try:\n                await self._leases.write(self.row, wanted, children=step.children)\n"
        "            except (Throttled, Unanswered):\n                await asyncio.sleep(60.0)\n"
        "                raise\n",
    ),
    mutant(
        "a refused letter is taken for sent",
        "19",
        "engine/burial.py",
        "if letter.record.id not in refused)",
        "if letter.record.id)",
    ),
    shared("evidence ignored"),
    shared("unavailable costs an attempt"),
    shared("deaths of owners are not counted"),
    shared("suspects start before the row tells of them"),
    shared("suspects of several shards share the death of a worker"),
    shared("the end of a ward is nobody's fault"),
    mutant(
        "duplicates are handed to the handler",
        "23",
        "core/window.py",
        "        if place <= self._floor:\n            return None\n",
        "",
    ),
    mutant(
        "a commit by whoever once held the shard",
        "25",
        "testing/memory/table.py",
        "(row.owner, row.epoch, row.revision) == (lease.owner, lease.epoch, lease.revision)",
        "row.revision >= 0",
    ),
    shared("a checkpoint apart from its writes"),
    shared("two records of one lane in one transaction"),
    shared("what was read is not held to be so"),
    shared("a wave is handled before it is marked"),
    shared("what was interrupted runs again"),
    shared("dedupe marked before the handler"),
    shared("what is another record's event is handled"),
    shared("claims know nothing of the epoch"),
)

_TRANSACTIONAL = (
    "a commit by whoever once held the shard",
    "a checkpoint apart from its writes",
    "two records of one lane in one transaction",
)
_ONCE = ("a wave is handled before it is marked", "what was interrupted runs again")
_KEYED = (
    "dedupe marked before the handler",
    "what is another record's event is handled",
    "claims know nothing of the epoch",
)
_MATTERS = {
    "fence counted from the answer": "rates.slow",
    "a shard is let go while an attempt runs": "mix.kind == 'thread' and mix.bad",
    "a peak is passed on whole": "mix.uneven",
    "moves under way set others in motion": "mix.uneven",
    "the hysteresis of balancing is gone": "mix.uneven",
    "a tombstone is removed too early": "mix.aftermath",
    "a parent that a stale listing lacks is called finished": "rates.reshards > 2",
    "shards are taken without asking whose they are": "rates.remakes",
    "the positions of an earlier stream are taken for another's": "rates.remakes",
    "heirs of what nobody knows begin as in a first snapshot": "mix.retention",
    "a stream enabled again is read beside the one before": "rates.remakes",
    "deaths of owners are not counted": "mix.killers",
    "suspects start before the row tells of them": "mix.killers",
    "suspects of several shards share the death of a worker": "mix.killers and mix.shards > mix.workers",
    **dict.fromkeys(_TRANSACTIONAL, "mix.kind == 'transactional'"),
    **dict.fromkeys(_ONCE, "mix.kind == 'at_most_once'"),
}
"""What a seed's mix must have for those that few seeds can show."""
_FIRST = {
    "heirs of what nobody knows begin as in a first snapshot": CHANGED,
    "a stream enabled again is read beside the one before": CHANGED,
    "a renewed subscription begins after its continuation": PUSHED,
    "the end of a ward is nobody's fault": WARDED,
    **dict.fromkeys((*_TRANSACTIONAL, *_ONCE), modes.FROM),
    "what was read is not held to be so": modes.READING.start,
    **dict.fromkeys(_KEYED, keys.FROM),
}

MUTANTS = tuple(
    Prey(mutant=each, matters=_MATTERS.get(each.name, "True"), first=_FIRST.get(each.name, 0)) for each in _BROKEN
)
