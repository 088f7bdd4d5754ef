"""A destination for successes, through the SDK: made by `init`, sent to by a worker and by a function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamkit.cli.loading import load
from streamkit.core.successes import read
from streamkit.runtimes.function import container
from tests.functions.stage import kinesis
from tests.functions.test_container import Context

pytestmark = pytest.mark.e2e

Call = Callable[..., Any]


def told(client: Callable[[str], Any], queue: str) -> Iterator[bytes]:
    """The payloads of the successes in a queue."""
    sqs = client("sqs")
    address = {"QueueUrl": sqs.get_queue_url(QueueName=queue)["QueueUrl"]}
    while messages := sqs.receive_message(**address, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            yield read(message["Body"]).record.data
            sqs.delete_message(**address, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture
def path(run: Call, stage: Callable[..., str], client: Callable[[str], Any]) -> str:
    """A consumer with a destination for successes, and 25 records in its stream."""
    path = stage("telling", settings='on_success=Sqs("telling-done")')
    assert "or say `streamkit init --queue`" in run("init", path).complaint
    entries = [{"Data": str(number).encode(), "PartitionKey": str(number)} for number in range(25)]
    client("kinesis").put_records(StreamName="telling", Records=entries)
    return path


def test_a_worker_and_a_function_tell_the_same_queue(
    run: Call, path: str, client: Callable[[str], Any], world: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which `init --queue` has made, and whose absence is said at the start."""
    made = run("init", path, "--queue")
    assert "queue for successes telling-done: made" in made.out
    assert run("run", path, "--until-idle", "0.5").status == 0
    assert sorted(map(int, told(client, "telling-done"))) == list(range(25))

    monkeypatch.syspath_prepend(Path.cwd())
    for name, value in {**world, "STREAMKIT_PARTIAL_RESPONSES": "true"}.items():
        monkeypatch.setenv(name, value)
    try:
        assert load(path).lambda_handler(kinesis(*range(100, 110)), Context()) == {"batchItemFailures": []}
    finally:
        container.close()
        sys.modules.pop("of_telling", None)
    assert sorted(map(int, told(client, "telling-done"))) == list(range(100, 110))
