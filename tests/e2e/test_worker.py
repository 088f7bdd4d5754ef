"""Worker processes, end to end, in the embedded world."""

from collections.abc import Iterator, Mapping

import pytest

from streamkit.testing.endpoint import endpoint_process
from tests.e2e.suite import WorkerSuite


@pytest.fixture(scope="module")
def variables() -> Iterator[Mapping[str, str]]:
    """Lead to an endpoint of our own."""
    with endpoint_process() as variables:
        yield variables


class TestWorker(WorkerSuite):
    """On `streamkit local`."""
