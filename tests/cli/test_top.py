"""`streamkit top`: the screen, its keys, and the course of figures."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from streamkit.cli.status import Report
from streamkit.cli.top.course import LENGTH, Course, in_order, sparkline
from streamkit.cli.top.live import Top, pressed
from streamkit.cli.top.screen import Looking, screen
from streamkit.core.overview import Overview, ShardView, WorkerView

SHARD = ShardView(
    shard="shardId-000000000000",
    state="reading",
    why=None,
    owner="ip-10-0-12-34.eu-central-1.compute.internal-4711-0123456789ab",
    epoch=1,
    frontier="4" * 56,
    lag_seconds=4.0,
    oldest_seconds=2.0,
    waiting=12_345,
    rate=1_234.5,
    settled=1_000_000,
    retried=3,
    dead=99_999,
    parked=2,
    told_seconds=1.0,
)
WORKER = WorkerView(
    worker=SHARD.owner or "", pulse="beating", beat_seconds=0.4, shards=1, rate=1_234.5, up_seconds=100_000
)


def view(shards: int = 3) -> Overview:
    """Return a consumer with so many shards, the last of them halted."""
    many = [replace(SHARD, shard=f"shardId-{n:012}", lag_seconds=float(n)) for n in range(shards)]
    many[-1] = replace(many[-1], state="halted", why="a person asked", owner=None, rate=0.0)
    attention = (f"{many[-1].shard} is halted: a person asked",)
    return Overview(shards=tuple(many), workers=(WORKER,), letters=1_200, attention=attention)


def drawn(looking: Looking, *, shards: int = 3, height: int = 24) -> list[str]:
    """Return the lines of a screen of 80 columns, without colour."""
    course, console = Course(), Console(file=io.StringIO(), width=80, no_color=True)
    course.note(view(shards))
    report = Report(consumer="orders", stream="orders", table="streamkit-orders", overview=view(shards))
    console.print(screen(report, course, looking, height=height, trouble=None))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_screen_fits_into_80_columns_without_colour_however_many_shards_there_are() -> None:
    """What does not fit is counted; what is chosen is shown."""
    for shards in (1, 3, 500):
        for at in (0, shards - 1):
            lines = drawn(Looking(at=at), shards=shards)
            assert max(map(len, lines)) <= 80
            assert len(lines) <= 24
            assert any(line.startswith(">") and line.split()[1] == str(at) for line in lines)
    assert any("490 more shards" in line for line in drawn(Looking(), shards=500))
    assert any(line.startswith("! shardId-000000000002 is halted") for line in drawn(Looking()))


def test_a_shard_in_detail_tells_all_that_is_known() -> None:
    """In full, and still in 80 columns."""
    lines = drawn(Looking(detail=True))
    page = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    for text in ("shardId-000000000000", "4" * 56, "internal-4711-0123456789ab", "1.0M settled", "2 keys"):
        assert text in page


def test_shards_are_sorted_by_what_a_person_asks_for() -> None:
    """Worst first."""
    names = {
        sort: [int(each.shard[-3:]) for each in in_order(view().shards, sort)] for sort in ("shard", "lag", "state")
    }
    assert names == {"shard": [0, 1, 2], "lag": [2, 1, 0], "state": [2, 0, 1]}


def test_keys_choose_sort_and_show_and_several_may_come_at_once() -> None:
    """As a terminal sends them."""
    looking = Looking()
    assert pressed(looking, "down", lines=3).at == 1
    assert pressed(looking, "up", lines=3).at == 0
    assert pressed(replace(looking, at=2), "down", lines=3).at == 2
    assert pressed(replace(looking, at=2), "sort", lines=3) == Looking(sort="lag")
    top = Top(sort="shard")
    top.report = Report(consumer="orders", stream="orders", table="t", overview=view())
    top.press("\x1b[B\x1bOBx\r")
    assert top.looking == Looking(at=2, detail=True)
    assert not top.left.is_set()
    top.press("q")
    assert top.left.is_set()


@pytest.mark.parametrize(
    ("values", "line"),
    [([], "    "), ([0, 0], "  ▁▁"), ([1, 2, 4, 8], "▁▂▄█"), ([0.001, 8], "  ▁█"), ([9] * 9, "████")],
)
def test_a_sparkline_is_as_wide_as_it_has_to_be(values: list[float], line: str) -> None:
    """The highest is full, what is above nothing is seen."""
    assert sparkline(values, 4) == line


def test_a_course_is_bounded_and_forgets_shards_that_are_gone() -> None:
    """It may run for weeks."""
    course = Course()
    for _ in range(3 * LENGTH):
        course.note(view(3))
    assert len(course.lag[""]) == LENGTH
    course.note(view(1))
    assert course.rate.keys() == {"", "shardId-000000000000"}


def test_without_a_terminal_it_says_what_to_use_instead(call: Callable[..., Any]) -> None:
    """For scripts there is status."""
    wrong = call("top", "shop:orders")
    assert (wrong.status, "`streamkit status --json` is for scripts" in wrong.complaint) == (2, True)


@pytest.mark.e2e
@pytest.mark.slow
def test_on_a_terminal_it_shows_the_shards_until_q(
    run: Callable[..., Any],
    operate: Callable[..., Any],
    stage: Callable[..., str],
    project: Path,
    world: Mapping[str, str],
) -> None:
    """And leaves the terminal as it was."""
    path = stage("topped")
    assert operate("init", path, "--queue").status == 0
    assert run("run", path, "--until-idle", "0.5").status == 0
    ours, theirs = pty.openpty()
    variables = {**os.environ, **world, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-c", "from streamkit.cli import main; main()", "top", path, "--every", "0.5"]
    with subprocess.Popen(
        command, cwd=project, env=variables, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    ) as child:
        shown, told = b"", False
        while child.poll() is None:
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 4096)
            if b"q quit" in shown and not told:
                told = bool(os.write(ours, b"q"))
        while select.select([ours], [], [], 0.0)[0]:
            shown += os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == 0
    assert b"no worker" in shown or b"free" in shown
    assert b"\x1b[?1049l" in shown, "back on the screen it came from"
