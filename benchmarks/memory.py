"""Memory of a worker at full speed, minute after minute: bounded by configuration, so it must not grow.

    make bench-memory SECONDS=600

1 KB records over 1,000 keys and four shards, from a load server that never runs out. The peak of the second sixth of
the run is held against that of the last.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import MOST_LAPS
from benchmarks.measure import ROOT, Case, load
from streamkit.testing.endpoint import endpoint_process

CASE = Case(400_000, shards=4, laps=MOST_LAPS)
"""200 million records: more than any worker reads in ten minutes."""
PARTS = 6
TOLERATED = 0.05
"""By how much the last part's peak may lie over the second's."""


def resident_mebibytes(pid: int) -> float:
    """Return the resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def samples(seconds: float) -> Iterator[float]:
    """Yield the memory of a running worker, once a second."""
    endless = {"BENCH_RECORDS": str(10**12)}
    with endpoint_process("--no-limits") as exports, load(CASE) as environment:
        command = [sys.executable, "-m", "benchmarks.ours", "async"]
        with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **exports, **environment, **endless}) as worker:
            try:
                until = time.monotonic() + seconds
                while time.monotonic() < until and worker.poll() is None:
                    time.sleep(1)
                    yield resident_mebibytes(worker.pid)
            finally:
                worker.kill()


def main() -> None:
    """Run, print, and end with 1 if it grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    seconds = parser.parse_args().seconds
    found = list(samples(seconds))
    if len(found) < seconds * 0.9 or len(found) < PARTS:
        sys.exit(f"expected a worker that runs for {seconds:g} s, got {len(found)} s")
    size = len(found) // PARTS
    peaks = [max(found[first : first + size]) for first in range(0, size * PARTS, size)]
    print(f"peak MiB of each sixth of {seconds:g} s at full speed: {', '.join(f'{peak:.0f}' for peak in peaks)}")
    if peaks[-1] > peaks[1] * (1 + TOLERATED):
        sys.exit(f"expected no growth, got {peaks[-1] - peaks[1]:.0f} MiB from the second sixth to the last")


if __name__ == "__main__":
    main()
