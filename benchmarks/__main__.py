"""What a record costs, side by side with bare loops and peers: `make bench`, or `make bench QUICK=1`.

Writes docs/performance.md and its plot; a quick run only prints.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from statistics import median

from benchmarks import report
from benchmarks.measure import ROOT, SPREAD
from benchmarks.suites import growth, latency, memory, run, tables
from streamkit.testing.endpoint import endpoint_process

INTRODUCTION = f"""# Performance

Made by `make bench`; do not edit. CPU is user + system of the consumer's process, from the first record in hand to the
last one handled, in microseconds a record; figures are medians. Absolute figures depend on the machine; ratios hold
better. They compare runs of one round, in which every subject is a fresh process and reads the same stream; no ratio is
printed where its quartiles lie further apart than {SPREAD:.0%} of it. A subject that does not hand over every record is
void, ours too.

The bare loops only iterate. streamkit runs its worker with everything on: leases, heartbeats in a thread of their own,
order per key, time-outs, duplicates dropped, the fence asked before each record, checkpoints in DynamoDB. The quotas of
a shard (2 MB and 5 calls a second) are kept by none of them. For changes the engine runs without worker and
checkpoints. The load server sends answers that it encoded before.

![CPU a record](performance.svg)
"""

CLOSING = """
## What falls short, and what is not measured

- A plain `def` handler costs a trip to a thread and back for every record, 50 to 90 us. Where that matters use
  `async def`, or a batch handler.
- Requests for records go round the SDK once it has shown how (`streamkit.aws.lean`). Where they cannot, behind a proxy
  for example, small answers and empty polls cost what the SDK takes: about what they cost the bare loop.
- In Lambda each batch costs two requests to DynamoDB and the reading of the event, which Powertools' BatchProcessor
  without idempotency does not do.
- A handler that waits costs a task switch and a lane, as anything does that waits.
- The KCL has [a page of its own](kcl.md). Not measured: a run of hours.

## Settings that help

- uvloop is used where it is installed.
- With records of 10 KB glibc gives memory back to the system after every answer and asks for it again:
  `MALLOC_TRIM_THRESHOLD_=268435456 MALLOC_TOP_PAD_=67108864` spares it that.
"""


def measured(*, quick: bool, times: int) -> Iterable[str]:
    """Measure everything; return the page piece by piece."""
    yield INTRODUCTION
    python, cores = platform.python_version(), os.cpu_count()
    yield f"CPython {python}, {platform.system()} {platform.machine()}, {cores} cores, {times} rounds.\n"
    yield "## Reading, asking, taking apart\n"
    with endpoint_process("--no-limits") as exports:
        for index, table in enumerate(tables(quick=quick)):
            found = run(table, exports, times=times)
            yield from report.rows(table, found)
            if index == 0 and not quick:
                (ROOT / "docs" / "performance.svg").write_text(report.plot(table, found))
        yield "## Growth\n\n100 B records, async handler.\n"
        yield "| | CPU us a record | records/s |\n|---|---:|---:|"
        for name, table in growth(quick=quick):
            (mine,) = run(table, exports, times=times)
            yield f"| {name} | {mine.void or f'{median(mine.cpu):.2f} | {median(mine.rate):,.0f}'} |"
        yield (
            "\n## Memory\n\nBounded by `read_ahead_bytes`, `checkpoint.window` and one answer a shard. "
            "`make bench-memory` runs for ten\nminutes at full speed, and fails where the last sixth takes 5% more "
            "than the second.\n"
        )
        yield "| | peak MiB of the process |\n|---|---:|"
        for name, table in memory(quick=quick):
            (mine,) = run(table, exports, times=times)
            yield f"| {name} | {mine.void or f'{median(mine.rss):.0f}'} |"
        waited = latency(exports)
    yield (
        "\n## Latency\n\nFrom put to handler at about 5 records a second, against the embedded endpoint: median "
        f"{waited['median']:.0f} ms, 99th percentile {waited['p99']:.0f} ms. It is the pace of polling: five calls a\n"
        "second and shard are all that is allowed."
    )
    load = os.getloadavg()[2]
    yield f"\nThe machine's load (15 minutes) at the end: {load:.1f} on {os.cpu_count()} cores."
    yield CLOSING


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small part, three rounds, nothing written")
    parser.add_argument("--rounds", type=int, default=0)
    wanted = parser.parse_args()
    pieces: list[str] = []
    for piece in measured(quick=wanted.quick, times=wanted.rounds or (3 if wanted.quick else 5)):
        pieces.append(piece)
        sys.stdout.write(f"{piece}\n")
        sys.stdout.flush()
    if not wanted.quick:
        (ROOT / "docs" / "performance.md").write_text("\n".join(pieces))


if __name__ == "__main__":
    main()
