"""A campaign over several runs: what the seeds of one commit have shown so far, in one file.

    {commit: {"seeds": [[first, last], ...], "violations": {seed: what}, "seen": {what: times}}}

A tree with changes that are not committed has an entry of its own, by their digest.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from tests.simulation.campaign import Outcome

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Ledger:
    """The entry of one commit. `save` keeps those of the others."""

    path: Path
    commit: str
    seeds: set[int] = field(default_factory=set[int])
    violations: dict[int, str] = field(default_factory=dict[int, str])
    seen: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def open(cls, path: Path, commit: str) -> Self:
        """Read what is known of the commit: nothing, at first."""
        entry = _read(path).get(commit, {"seeds": [], "violations": {}, "seen": {}})
        return cls(
            path,
            commit,
            {seed for first, last in entry["seeds"] for seed in range(first, last + 1)},
            {int(seed): what for seed, what in entry["violations"].items()},
            Counter(entry["seen"]),
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
        return f"{self.commit[:12]}: {len(self.seeds)} seeds so far, {len(self.violations)} broken promises"


def ranges(seeds: Iterable[int]) -> list[list[int]]:
    """Return first and last of each run of consecutive seeds."""
    found: list[list[int]] = []
    for seed in sorted(seeds):
        if found and found[-1][1] == seed - 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return found


def commit() -> str:
    """Name the code as it is: the commit, and a digest of what has changed since in files that git knows."""
    head = _git("rev-parse", "HEAD").decode().strip()
    changes = _git("diff", "HEAD")
    return f"{head}+{blake2b(changes, digest_size=4).hexdigest()}" if changes else head


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607 - the developer's git


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
