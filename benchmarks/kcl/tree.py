"""What a process and its descendants have used, by Linux's /proc (proc(5))."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
LOOK_SECONDS = 0.2


def _stat(process: int) -> tuple[int, float, float] | None:
    """Return the parent, CPU seconds and resident MiB of a process; None if it is over."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICK, int(fields[21]) * _PAGE / 2**20


class Tree:
    """Looks at a process and all it started, several times a second, until closed."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._cpu: dict[int, float] = {}
        self.peak = 0.0
        """Most memory of all together, MiB."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    @property
    def cpu(self) -> float:
        """Seconds of user and system CPU so far, of those that are over too."""
        self._look()
        return sum(self._cpu.values())

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        found = {
            int(each.name): stat
            for each in Path("/proc").iterdir()
            if each.name.isdigit() and (stat := _stat(int(each.name)))
        }
        mine, before = {self._root}, 0
        while before < len(mine):
            before = len(mine)
            mine |= {process for process, stat in found.items() if stat[0] in mine}
        there = {process: found[process] for process in mine if process in found}
        self._cpu |= {process: stat[1] for process, stat in there.items()}
        self.peak = max(self.peak, sum(stat[2] for stat in there.values()))
