"""The handler under AWS's own runtime interface client and emulator: real processes, HTTP, time-outs, reuse."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.functions.stage import kinesis, sequence
from tests.lambda_runtime.conftest import Runtime

SETTLED: dict[str, Any] = {"batchItemFailures": []}


def event(*payloads: str, first: int = 0) -> dict[str, Any]:
    """Return an event of these payloads, each with a key of its own."""
    found = kinesis(*range(first, first + len(payloads)), keys=100)
    for entry, payload in zip(found["Records"], payloads, strict=True):
        entry["kinesis"]["data"] = base64.b64encode(payload.encode()).decode()
    return found


def test_a_container_serves_event_after_event_and_leaks_nothing(runtime: Runtime) -> None:
    """One process, one lifespan; a poison record is a dead letter; what was settled is not handled again."""
    runtime.start()
    assert runtime.invoke(event("a", "poison", "b")) == SETTLED
    assert runtime.invoke(event("c", "d", first=3)) == SETTLED
    assert runtime.invoke(event("a", "poison", "b", "c", "d")) == SETTLED
    opened, *effects = runtime.effects()
    assert opened.startswith("opened ")
    assert sorted(effects) == ["a", "b", "c", "d"]
    assert runtime.letters() == [(b"poison", "Poison")]


def test_what_the_deadline_cuts_off_comes_back(runtime: Runtime) -> None:
    """A record slower than the time-out allows ends in an answer that names it, let off once, and then in the queue."""
    runtime.start(timeout=2, RETRY_ATTEMPTS="2")
    batch = event("a", "slow", "b")
    unsettled = {"batchItemFailures": [{"itemIdentifier": sequence(1)}]}
    assert [runtime.invoke(batch) for _ in range(4)] == [unsettled, unsettled, SETTLED, SETTLED]
    assert sorted(runtime.effects()[1:]) == ["a", "b"]
    assert runtime.letters() == [(b"slow", "RetryAttemptsExhausted")]


@pytest.mark.parametrize("factor", ["1", "10"])
def test_a_record_that_times_the_function_out_is_condemned_alone(runtime: Runtime, factor: str) -> None:
    """It holds the loop up until Lambda kills the process. Its neighbours take effect; the mapping gets on."""
    runtime.start(timeout=3, PARALLELIZATION_FACTOR=factor)
    batch = event("a", "spin", "b")
    answers = [runtime.invoke(batch)]
    while answers[-1] != SETTLED and len(answers) < 10:
        answers.append(runtime.invoke(batch))
    assert answers[-1] == SETTLED, runtime.log()
    assert 3 <= sum("timed out" in answer for answer in answers) <= 6, answers
    assert runtime.letters() == [(b"spin", "ProcessDied")]
    assert {"a", "b"} == {line for line in runtime.effects() if not line.startswith("opened")}


def test_a_thread_that_does_not_end_ends_the_process_before_the_time_out(runtime: Runtime) -> None:
    """It would thaw into a later invocation; from its second time on the record is in the queue."""
    runtime.start(handler="threaded_handler", timeout=3)
    batch = event("a", "spin", "b")
    answers = [runtime.invoke(batch)]  # a connection that breaks off is a delivery that comes again
    while answers[-1] != SETTLED and len(answers) < 6:
        answers.append(runtime.invoke(batch))
    assert answers[-1] == SETTLED, runtime.log()
    assert runtime.log().count("exited: exit status 70") == 2
    assert "timed out" not in runtime.log()
    assert runtime.letters() == [(b"spin", "ProcessDied")]
    assert sorted(runtime.effects()) == ["a", "b"]


def test_a_malformed_event_is_an_error_that_says_what_was_expected(runtime: Runtime) -> None:
    """Lambda takes it for a failure of the batch: nothing is dropped."""
    runtime.start()
    answer = runtime.invoke({"Records": [{"eventSource": "aws:sqs"}]})
    assert answer["errorType"] == "MalformedEvent"
    assert "aws:kinesis" in answer["errorMessage"]
    assert sequence(0) not in str(answer)
