"""Protocol breaks, applied to a copy of the package: the search has to find each of them.

python -m tests.exhaustive.mutants     all of them, with the shortest way to each break
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEASE = "streamkit/runtimes/lease.py"
_TABLE = "streamkit/testing/memory/table.py"
_PLAN = "streamkit/core/leasing.py"
_COORDINATOR = "streamkit/runtimes/coordinator.py"
_WRITE_IF = "if row is None or (row.owner, row.epoch, row.revision) != (held.owner, held.epoch, held.revision):"
_TAKE_IF = "if row is None or (row.owner, row.epoch) != (seen.owner, seen.epoch):"
_OWN = "if refused.row is not None and refused.row.token == wanted.token:"
_NEWER = ("            await self._resolve()\n            wanted =", "            wanted =")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A break: what is replaced in which files, and the world in which it shows."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    world: tuple[str, ...] = ("--shape=one", "--records=1", "--troubles=2")


_MERGE = ("--shape=merge", "--records=0", "--troubles=1")
_LATE = ("--shape=one", "--records=1", "--joined=1", "--troubles=1")

MUTANTS = (
    Mutant("a write without a condition", ((_TABLE, _WRITE_IF, "if row is None:"),)),
    Mutant(
        "a write conditional on the owner only", ((_TABLE, _WRITE_IF, "if row is None or row.owner != held.owner:"),)
    ),
    Mutant("any refusal is taken for an answer of its own", ((_LEASE, _OWN, "if refused.row is not None:"),)),
    Mutant(
        "something newer is sent while a write is in doubt",
        ((_LEASE, *_NEWER),),
    ),
    Mutant(
        "something newer is sent under the token of the write in doubt",
        (
            (_LEASE, *_NEWER),
            (_LEASE, "token=self._chance.token(), **step.changes", "token=self.row.token, **step.changes"),
        ),
    ),
    Mutant("a take that leaves the epoch", ((_LEASE, "epoch=seen.epoch + 1", "epoch=seen.epoch"),)),
    Mutant("a take without a condition", ((_TABLE, _TAKE_IF, "if row is None:"),)),
    Mutant(
        "a take that goes by the row as it was seen",
        (
            (
                _LEASE,
                "return replace(await leases.take(seen, wanted), prefers=None)",
                "await leases.take(seen, wanted)\n        return wanted",
            ),
        ),
    ),
    Mutant(
        "a live shard is taken",
        ((_PLAN, "row.owner is None or row.owner not in alive", "True"),),
        ("--shape=two", "--records=0", "--joined=1", "--troubles=1"),
    ),
    Mutant(
        "who joined after the first look is taken for dead",
        ((_COORDINATOR, "members = await self._lookout.with_newcomers(members)", "pass"),),
        ("--shape=two", "--records=0", "--joined=1", "--troubles=1"),
    ),
    Mutant(
        "a burial that overlooks a heartbeat",
        ((_TABLE, 'row.state == "alive" and row.counter == seen.counter', 'row.state == "alive"'),),
    ),
    Mutant("a heartbeat raises the dead", ((_TABLE, 'if row is None or row.state != "alive":', "if row is None:"),)),
    Mutant(
        "the children's rows are left out",
        ((_LEASE, "self.row, wanted, children=step.children", "self.row, wanted"),),
        _MERGE,
    ),
    Mutant(
        "a child that is there already cancels the end of its other parent",
        (
            (
                _TABLE,
                "        self.shard_rows[held.id] = wanted\n",
                (
                    "        if any(child.id in self.shard_rows for child in children):\n"
                    "            raise Refused(row)\n"
                    "        self.shard_rows[held.id] = wanted\n"
                ),
            ),
        ),
        _MERGE,
    ),
    Mutant(
        "one parent's end is enough for the child of a merge",
        ((_PLAN, "for parent in row.shard.parents:\n", "for parent in row.shard.parents[:1]:\n"),),
        _MERGE,
    ),
    Mutant(
        "a row that names me and that I do not run is left alone",
        ((_PLAN, "takers[row.id] == me and row.id not in running)", "takers[row.id] == me and row.owner != me)"),),
        ("--shape=one", "--records=0", "--troubles=1"),
    ),
)


def found(mutant: Mutant, *, within: float = 100.0) -> str:
    """Search a copy of the package with the break in it; return what the search says. Raises `ValueError`."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("streamkit", "tests/exhaustive"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name, old, new in mutant.changes:
            text = (copy / name).read_text(encoding="utf-8")
            if old not in text:
                raise ValueError(f"{mutant.name}: expected {old!r} in {name}, got a file without it")
            (copy / name).write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, "-m", "tests.exhaustive.search", *mutant.world, "--most=150000"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=within, check=False)
        return done.stdout or done.stderr


def main() -> None:
    """Show every mutant and how it was found."""
    for mutant in MUTANTS:
        print(f"== {mutant.name}\n{found(mutant)}", flush=True)


if __name__ == "__main__":
    main()
