"""Run seeds of the equivalence of the runtimes, and of Lambda in trouble.

    python -m tests.equivalence --seeds 0-999             both, seed by seed
    python -m tests.equivalence --seeds 0-999 --trouble   Lambda alone, with faults

Exit status 1 if a promise was broken, or a fault or a recovery was never seen in 500 seeds of trouble.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.equivalence.campaign import compare, never_seen, trouble
from tests.equivalence.stage import Broken

_ENOUGH = 500


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.equivalence", description="Compare the runtimes.")
    parser.add_argument("--seeds", default="0-99", metavar="A-B", help="first and last seed")
    parser.add_argument("--trouble", action="store_true", help="Lambda alone, with faults")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    broken, seen = 0, Counter[str]()
    for seed in seeds:
        try:
            if options.trouble:
                seen += trouble(seed)
            else:
                compare(seed)
        except Broken as error:
            broken += 1
            print(error, flush=True)
    for name, count in sorted(seen.items()):
        print(f"{count:>10}  {name}")
    missed = never_seen(seen) if options.trouble and len(seeds) >= _ENOUGH else []
    print(f"{len(seeds)} seeds, {broken} broken promises" + (f"; never seen: {', '.join(missed)}" if missed else ""))
    return 1 if broken or missed else 0


if __name__ == "__main__":
    sys.exit(main())
