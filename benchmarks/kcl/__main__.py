"""Let the KCL and streamkit do the same work on the same emulator, in turn, and say what it took.

    make bench-kcl                                                          writes docs/kcl.md
    python -m benchmarks.kcl --rounds 1 --only streamkit kcl-tuned          prints it for some

Says why not, with status 0, where there is no Java.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.kcl.applications import APPLICATIONS
from benchmarks.kcl.play import EVERY_SECONDS, IDLE_SECONDS, RECORDS, SHARDS, SIZE_BYTES, Found, play
from benchmarks.kcl.services import Counted, missing, services
from benchmarks.measure import ROOT

PAGE = ROOT / "docs" / "kcl.md"
ROWS = {
    "first": "process start to first record, s",
    "drain": f"first to last of {RECORDS:,} records, s",
    "cpu": "CPU until then, with the start, s",
    "memory_mb": "peak memory, processes together, MiB",
    "idle_cpu": "idle: part of a core",
    "requests": "idle: DynamoDB requests a second",
    "writes": "idle: of them writes",
    "joined": "second worker: start to its first record, s",
    "median": "put to handler, median, s",
    "late": "put to handler, 99 of 100, s",
    "stall": "kill -9 to the last of its shards going on, s",
    "missing": "records handled by nobody",
}


def main() -> int:
    """Play the rounds and tell."""
    options = _options()
    if (why := missing()) is not None:
        print(f"the KCL cannot be run here: {why}")
        return 0
    with services() as (variables, counted):
        os.environ.update(variables)
        found: dict[str, list[Found | str]] = {name: [] for name in options.only}
        for number in range(options.rounds):
            for name in options.only:
                found[name].append(_round(name, number, variables, counted=counted))
    text = page(found, rounds=options.rounds)
    if options.only == list(APPLICATIONS):
        PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=APPLICATIONS, default=list(APPLICATIONS), metavar="APPLICATION")
    return parser.parse_args()


def _round(name: str, number: int, variables: Mapping[str, str], *, counted: Counted) -> Found | str:
    """Play one round; return how it failed, if it did."""
    with tempfile.TemporaryDirectory(prefix=f"kcl-{name}-") as folder:
        application = APPLICATIONS[name](f"{name}-{number}", folder=Path(folder), variables=variables)
        try:
            found = play(application, folder=Path(folder), counted=counted, chance=Random(number))
        except TimeoutError as error:
            logs = "".join(path.read_text(encoding="utf-8")[-1500:] for path in Path(folder).glob("*/log"))
            sys.stderr.write(f"{name} {number}: {error}\n{logs}\n")
            return str(error)
    sys.stderr.write(f"{name} {number}: {found}\n")
    return found


def page(found: Mapping[str, Sequence[Found | str]], *, rounds: int) -> str:
    """Return the page."""
    names = list(found)
    head = " | ".join(APPLICATIONS[name].title for name in names)
    lines = [f"| {row} | {' | '.join(_cell(found[name], field) for name in names)} |" for field, row in ROWS.items()]
    return INTRODUCTION.format(
        rounds=rounds,
        python=platform.python_version(),
        cores=os.cpu_count(),
        load=os.getloadavg()[2],
        table="\n".join([f"| | {head} |", "|---|" + "---:|" * len(names), *lines]),
    )


def _cell(runs: Sequence[Found | str], field: str) -> str:
    values = [float(getattr(run, field)) for run in runs if isinstance(run, Found)]
    failed = f", {len(runs) - len(values)} failed" if len(values) < len(runs) else ""
    if not values:
        return "failed"
    worst = f" ({_told(max(values))})" if max(values) > median(values) else ""
    return f"{_told(median(values))}{worst}{failed}"


def _told(value: float) -> str:
    return f"{value:.3g}"


INTRODUCTION = f"""# Beside the Kinesis Client Library

Made by `make bench-kcl`; do not edit. The real KCL 3.1.3, as Python runs it (its MultiLangDaemon on Java, a record
processor made with kclpy; from PyPI's kclpy-ext), and streamkit's worker, at the same work, on the same emulator
(ministack), in turn: a line in a file for each of {RECORDS:,} records of {SIZE_BYTES:,} bytes over {SHARDS} shards, a
checkpoint every 2 s. Then {IDLE_SECONDS:.0f} s of nothing, then a record every {EVERY_SECONDS} s while a second worker
joins and the first is killed. CPU and memory are of all processes of a worker; the emulator's are nobody's. Medians
(worst) of {{rounds}} rounds, {{cores}} cores, CPython {{python}}, load of the machine {{load:.0f}} at the end.

{{table}}

By their defaults the KCL's lease lasts 10 s, as ours does; the second pair has leases of 3 s, and the KCL's other
timers shortened too. The worker that is killed is the first one, hence the KCL's leader; the death of a follower costs
it less. What an emulator cannot show: the latency and the quotas of AWS.
"""

if __name__ == "__main__":
    sys.exit(main())
