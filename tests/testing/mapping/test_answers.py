"""Every shape of an answer, and what the mapping makes of it."""

from __future__ import annotations

import pytest

from streamkit.testing.mapping.answers import INVALID, SUCCESS, Verdict, verdict

NUMBERS = ("100", "101", "1020", "99999")
SUCCESSES: list[object] = ["", [], None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}]
SILENT_LOSSES: list[object] = [
    {"batchItemFailure": [{"itemIdentifier": "101"}]},
    {"BatchItemFailures": [{"itemIdentifier": "101"}]},
    "101",
    [{"itemIdentifier": "101"}],
    101,
]
FAILURES: list[object] = [
    {"batchItemFailures": [{"itemIdentifier": ""}]},
    {"batchItemFailures": [{"itemIdentifier": None}]},
    {"batchItemFailures": [{"itemIdentifier": 101}]},
    {"batchItemFailures": [{"itemIdentifier": "102"}]},
    {"batchItemFailures": [{"itemidentifier": "101"}]},
    {"batchItemFailures": [{"itemIdentifier": "101"}, {"itemIdentifier": "102"}]},
    {"batchItemFailures": ["101"]},
    {"batchItemFailures": "101"},
    {"batchItemFailures": {"itemIdentifier": "101"}},
]


@pytest.mark.parametrize("answer", SUCCESSES, ids=repr)
def test_an_answer_without_failures_is_success(answer: object) -> None:
    """Recorded on AWS."""
    assert verdict(answer, NUMBERS, reports=True) == SUCCESS


@pytest.mark.parametrize("answer", SILENT_LOSSES, ids=repr)
def test_an_answer_without_the_key_is_success_so_that_a_misspelt_one_loses_records(answer: object) -> None:
    """Inferred: the worse reading for whoever wrote it."""
    assert verdict(answer, NUMBERS, reports=True) == SUCCESS


@pytest.mark.parametrize("answer", FAILURES, ids=repr)
def test_an_identifier_that_is_none_of_the_batchs_fails_it_whole(answer: object) -> None:
    """Also beside one that is."""
    assert verdict(answer, NUMBERS, reports=True) == INVALID


@pytest.mark.parametrize("order", [("1020", "101", "99999"), ("99999", "1020", "101"), ("101", "101")])
def test_the_lowest_number_is_the_checkpoint(order: tuple[str, ...]) -> None:
    """Lowest in the stream, not as text."""
    answer = {"batchItemFailures": [{"itemIdentifier": number} for number in order]}
    assert verdict(answer, NUMBERS, reports=True) == Verdict(1, reported=True)


@pytest.mark.parametrize("answer", [*SUCCESSES, *SILENT_LOSSES, *FAILURES], ids=repr)
def test_without_report_batch_item_failures_any_answer_is_success(answer: object) -> None:
    """A function that reports to a mapping that does not listen loses records."""
    assert verdict(answer, NUMBERS, reports=False) == SUCCESS
