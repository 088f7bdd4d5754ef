"""How events are written."""

from __future__ import annotations

import io
import json
import logging
from timeit import repeat
from typing import TYPE_CHECKING

import pytest
import structlog

from streamkit.events import CheckpointWritten, Event, Level, ShardTaken, WorkerBuried, WorkerDraining, catalogue
from streamkit.logs import RANKS, Format, reporter
from streamkit.testing.time import ManualClock

if TYPE_CHECKING:
    from streamkit.ports import Report

TAKEN = ShardTaken(shard="shard-1", epoch=7, previous_owner=None, frontier="4950")
BURIED = WorkerBuried(worker="a", buried="b")
SETTLED = CheckpointWritten(shard="shard-1", frontier=None, ahead=0, took_seconds=0.25)


class Terminal(io.StringIO):
    """Where a person reads."""

    def isatty(self) -> bool:
        """Be one."""
        return True


class ClosedPipe(io.StringIO):
    """Whoever read it is gone."""

    def write(self, text: str, /) -> int:
        """Refuse."""
        raise BrokenPipeError(text)


def reporting(form: Format = "json", level: Level = "debug", *, colours: bool = False) -> tuple[Report, io.StringIO]:
    """Make a reporter, and show what it writes."""
    stream = io.StringIO()
    return reporter(form, level, clock=ManualClock(), stream=stream, colours=colours), stream


def test_an_event_is_one_line_of_json() -> None:
    """When, how bad, what, and its fields, in this order."""
    report, written = reporting()
    report(TAKEN)
    report(BURIED)
    first, second = (json.loads(line) for line in written.getvalue().splitlines())
    assert list(first.items()) == [
        ("timestamp", "2013-01-01T00:00:00.000Z"),
        ("level", "info"),
        ("event", "shard.taken"),
        ("shard", "shard-1"),
        ("epoch", 7),
        ("previous_owner", None),
        ("frontier", "4950"),
    ]
    assert (second["level"], second["event"]) == ("warning", "worker.buried")


@pytest.mark.parametrize("text", ["two\nlines", '"quoted"', "\N{SKULL}\u2028", "\x1b[31mred", "\x00"])
def test_nothing_in_a_field_breaks_a_line(text: str) -> None:
    """JSON stays one line that reads back as it was."""
    report, written = reporting()
    report(WorkerDraining(worker=text, cause="x"))
    assert written.getvalue().count("\n") == 1
    assert json.loads(written.getvalue())["worker"] == text


def test_a_person_reads_aligned_text_without_colour_unless_asked() -> None:
    """The name, then the fields as they are declared."""
    report, written = reporting("console")
    report(TAKEN)
    assert written.getvalue() == (
        "2013-01-01T00:00:00.000Z [info     ] shard.taken            "
        "shard=shard-1 epoch=7 previous_owner=None frontier=4950\n"
    )
    report, written = reporting("console", colours=True)
    report(TAKEN)
    assert "\x1b[" in written.getvalue()


@pytest.mark.parametrize("level", RANKS)
def test_events_below_the_level_are_not_written(level: Level) -> None:
    """Those of the level and above are."""
    report, written = reporting(level=level)
    for event in (SETTLED, TAKEN, BURIED):
        report(event)
    expected = [each.name for each in (SETTLED, TAKEN, BURIED) if RANKS[each.level] >= RANKS[level]]
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == expected


def test_an_event_below_the_level_costs_next_to_nothing() -> None:
    """A tenth of one that is written, at most; in truth far less."""
    silent, _ = reporting(level="info")
    loud, _ = reporting(level="debug")
    number = 2000
    cheap = min(repeat(lambda: silent(SETTLED), number=number, repeat=5))
    dear = min(repeat(lambda: loud(SETTLED), number=number, repeat=5))
    assert cheap < dear / 10


def test_a_log_that_cannot_be_written_does_not_stop_the_work() -> None:
    """Records are worth more than lines about them."""
    report = reporter("json", "debug", clock=ManualClock(), stream=ClosedPipe())
    report(TAKEN)


@pytest.mark.parametrize("event", catalogue().values(), ids=lambda event: str(event.name))
def test_no_field_hides_what_every_line_has(event: type[Event]) -> None:
    """Names of fields do not collide with those of the line."""
    assert set(event.__struct_fields__) & {"timestamp", "level", "event"} == set()


def test_structlog_and_logging_of_the_user_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing global is configured, before or after, and nothing global reaches our lines."""
    root = logging.getLogger()
    before = (root.level, tuple(root.handlers), structlog.get_config()["processors"])
    report, written = reporting()
    report(TAKEN)
    assert (root.level, tuple(root.handlers), structlog.get_config()["processors"]) == before
    try:
        structlog.configure(processors=[lambda *_: "the user's own"], wrapper_class=structlog.BoundLogger)
        report(BURIED)
        fresh, afresh = reporting()
        fresh(BURIED)
        structlog.get_logger().info("theirs")
    finally:
        structlog.reset_defaults()
    assert capsys.readouterr().out == "the user's own\n"
    assert json.loads(written.getvalue().splitlines()[1]) == json.loads(afresh.getvalue())
