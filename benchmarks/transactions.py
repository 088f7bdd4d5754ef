"""Counters in a table, 10,000 records, a worker killed every few seconds: what each mode makes of it.

    python -m benchmarks.transactions [--records 10000] [--kill-seconds 4] [--modes transactional at_least_once]

Real workers on the embedded endpoint. `repeated` are effects too many, `missing` records without any.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import get_args

from streamkit.consumer import Mode
from streamkit.testing.endpoint import endpoint_process
from tests.e2e.counters import Counting


def main() -> None:
    """Play each mode, and print what the table says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transactions", description="Kills, and exact counters.")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--kill-seconds", type=float, default=4.0)
    parser.add_argument("--modes", nargs="+", choices=get_args(Mode), default=["transactional", "at_least_once"])
    options = parser.parse_args()
    for mode in options.modes:
        with (
            tempfile.TemporaryDirectory() as folder,
            endpoint_process() as variables,
            Counting(mode, folder=Path(folder), variables=variables) as counting,
        ):
            found = counting.play(options.records, kill_seconds=options.kill_seconds)
        print(
            f"{mode:14} {found.records} records, {found.kills} kills, {found.seconds:.0f} s: {found.repeated} repeated,"
            f" {found.missing} missing, counters of keys {found.astray:+d}, {found.letters} letters",
            flush=True,
        )


if __name__ == "__main__":
    main()
