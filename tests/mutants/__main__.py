"""Break every rule, one after the other, in a copy of the package, and see that the tests notice.

    python -m tests.mutants [words of a name ...]

Nothing in the working tree is touched. Exit status 1 if a mutant survives, or the tests fail without one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 120
SECONDS_A_TEST = 5
"""More for each of many tests, without a mutant: none of them is the one that hangs."""
CAUGHT, PASSED = 1, 0
"""What pytest's exit status says."""


def copy(to: Path) -> None:
    """Copy what the tests need."""
    for name in ("streamkit", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)


def mutate(package: Path, mutant: Mutant) -> None:
    """Put the mutant's words into the copy."""
    for patch in mutant.patches:
        file = package / patch.file
        text = file.read_text()
        if text.count(patch.old) != 1:
            raise ValueError(
                f"{mutant.name}: expected its text once in {patch.file}, got it {text.count(patch.old)} times"
            )
        file.write_text(text.replace(patch.old, patch.new))


def run(root: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests in a copy; return pytest's exit status, or -1 if it hangs, and what it said."""
    limit = LIMIT_SECONDS + SECONDS_A_TEST * (len(tests) - 1)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        *tests,
    ]
    here = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    try:
        done = subprocess.run(command, cwd=root, env=here, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return -1, f"they took longer than {limit} s"
    return done.returncode, done.stdout + done.stderr


def survivors(mutant: Mutant) -> list[str]:
    """Return what of the mutant's tests did not notice it."""
    with tempfile.TemporaryDirectory(prefix="streamkit-mutant-") as folder:
        root = Path(folder)
        copy(root)
        mutate(root / "streamkit", mutant)
        found: list[str] = []
        for test in mutant.tests:
            status, said = run(root, (test,))
            if status not in (CAUGHT, -1):
                found.append(f"{test}: {'passes' if status == PASSED else said[-800:]}")
        return found


def tell(mutant: Mutant) -> bool:
    """Try one mutant and print what came of it; return whether it was caught."""
    left = survivors(mutant)
    print(
        f"{'SURVIVES' if left else 'caught':>8}  rule {mutant.rule:>6}  {mutant.name}",
        *left,
        sep="\n            ",
        flush=True,
    )
    return not left


def main(words: list[str]) -> int:
    """Run all mutants, or those with these words in their names."""
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="streamkit-mutant-") as folder:
        copy(Path(folder))
        status, said = run(Path(folder), tuple(dict.fromkeys(test for each in chosen for test in each.tests)))
    if status != PASSED:
        print(said, "\nexpected all tests to pass without a mutant", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        caught = list(pool.map(tell, chosen))
    print(f"{sum(caught)} of {len(caught)} mutants caught")
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
