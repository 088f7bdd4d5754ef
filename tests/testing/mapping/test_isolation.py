"""The page about one bad record among a hundred tells what the command measures."""

from __future__ import annotations

import pytest

from benchmarks.isolation import BEGIN, END, MIDDLE, PAGE, RECORDS, SUBJECTS, isolate, report

BY_NAME = {subject.name: subject for subject in SUBJECTS}


@pytest.mark.slow
def test_the_page_shows_what_the_command_prints() -> None:
    """In virtual time the figures are the same everywhere; `make isolation` says how to renew them."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert rest.partition(END)[0].strip() == report()


@pytest.mark.parametrize("bad", [0, 1, MIDDLE, RECORDS - 1])
def test_streamkit_isolates_a_bad_record_in_one_invocation_and_repeats_nothing(bad: int) -> None:
    """Wherever it stands: one delivery, one letter, no good record in it, none left out."""
    figures = isolate(BY_NAME["streamkit"], bad)
    assert (figures.invocations, figures.deliveries, figures.letters) == (1, RECORDS, 1)
    assert (figures.repeated, figures.never_run, figures.disorder, figures.buried_alive) == (0, 0, 0, 0)
