"""A campaign over several runs: what the seeds of one commit have shown so far, in one file.

    {commit: {"seeds": [[first, last], ...], "violations": {seed: what}, "seen": {what: times}}}

A tree with changes that are not committed, or with files that git does not know, has an entry of its own, by their
digest: such seeds are no evidence for any commit, and the ledger says so.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from tests.simulation.campaign import Outcome

ROOT = Path(__file__).resolve().parents[2]
_SPANS = 6


@dataclass
class Ledger:
    """The entry of one commit. `save` keeps those of the others."""

    path: Path
    commit: str
    seeds: set[int] = field(default_factory=set[int])
    violations: dict[int, str] = field(default_factory=dict[int, str])
    seen: Counter[str] = field(default_factory=Counter[str])
    others: int = 0
    """Commits with entries of their own in the file: their seeds do not count here."""

    @classmethod
    def open(cls, path: Path, commit: str) -> Self:
        """Read what is known of the commit: nothing, at first."""
        entries = _read(path)
        entry = entries.pop(commit, {"seeds": [], "violations": {}, "seen": {}})
        return cls(
            path,
            commit,
            {seed for first, last in entry["seeds"] for seed in range(first, last + 1)},
            {int(seed): what for seed, what in entry["violations"].items()},
            Counter(entry["seen"]),
            others=len(entries),
        )

    def add(self, outcome: Outcome) -> None:
        """Enter a seed; a second time, it counts for nothing."""
        if outcome.seed in self.seeds:
            return
        self.seeds.add(outcome.seed)
        self.seen += outcome.seen
        if outcome.violation is not None:
            self.violations[outcome.seed] = outcome.violation

    def save(self) -> None:
        """Write the file, whole or not at all."""
        entry = {"seeds": ranges(self.seeds), "violations": self.violations, "seen": dict(sorted(self.seen.items()))}
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(json.dumps(_read(self.path) | {self.commit: entry}, indent=1))
        new.replace(self.path)

    def __str__(self) -> str:
        head, dirty, _ = self.commit.partition("+")
        state = " with changes that are not committed, evidence for no commit" if dirty else ""
        others = f"; other commits in {self.path}, which do not count: {self.others}" if self.others else ""
        return (
            f"{head[:12]}{state}: {len(self.seeds) - len(self.violations)} seeds green, "
            f"{len(self.violations)} broken promises; seeds {spans(self.seeds) or 'none yet'}{others}"
        )


def ranges(seeds: Iterable[int]) -> list[list[int]]:
    """Return first and last of each run of consecutive seeds."""
    found: list[list[int]] = []
    for seed in sorted(seeds):
        if found and found[-1][1] == seed - 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return found


def spans(seeds: Iterable[int]) -> str:
    """Return the longest runs of consecutive seeds, in their order, and how many others there are."""
    found = ranges(seeds)
    longest = sorted(sorted(found, key=lambda run: run[0] - run[1])[:_SPANS])
    told = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in longest)
    return f"{told} and {len(found) - _SPANS} shorter runs" if len(found) > _SPANS else told


def commit() -> str:
    """Name the code as it is: the commit, and a digest of what has changed since, files that git does not know too."""
    head = _git("rev-parse", "HEAD").decode().strip()
    changes = _git("diff", "HEAD")
    for name in _git("ls-files", "-z", "--others", "--exclude-standard").split(b"\0")[:-1]:
        changes += name + (ROOT / os.fsdecode(name)).read_bytes()
    return f"{head}+{blake2b(changes, digest_size=4).hexdigest()}" if changes else head


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607 - the developer's git


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
