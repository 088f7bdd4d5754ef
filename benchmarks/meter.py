"""What one process spends a record: from the first record in hand to the last one."""

import json
import os
import resource
import sys
import time

EXPECTED = int(os.environ.get("BENCH_RECORDS", "0"))
ANSWER = int(os.environ.get("BENCH_ANSWER", "0"))
"""Records of the first answer, over all shards: it was fetched before the first record was in hand."""


class Meter:
    """Notes CPU (user + system of this process) and wall time at the first and at the last record."""

    def __init__(self) -> None:
        self.seen = 0
        self._began: tuple[float, float] | None = None
        self._ended: tuple[float, float] | None = None

    def begin(self) -> None:
        """The first record is in hand."""
        if self._began is None:
            self._began = _now()

    def end(self) -> None:
        """The last record was handled."""
        self._ended = _now()

    def tell(self) -> None:
        """Print what came out, as one line of JSON."""
        began, ended = self._began or _now(), self._ended or _now()
        share = max(1, EXPECTED - ANSWER)
        found = {
            "seen": self.seen,
            "cpu": (ended[0] - began[0]) / share * 1e6,
            "rate": share / max(1e-9, ended[1] - began[1]),
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        sys.stdout.write(f"{json.dumps(found)}\n")


def _now() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()
