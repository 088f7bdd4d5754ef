"""A table, its writers, workers that are killed on the way, and the view that equals the table: embedded endpoint."""

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.view_suite import ViewSuite
from tests.nursery import Nursery

ROLL_SECONDS = 4.0


class TestView(ViewSuite):
    """Shards roll every four seconds, and items expire at once."""

    rolls = True

    @pytest.fixture
    def variables(self, nursery: Nursery) -> Iterator[Mapping[str, str]]:
        """Lead to an endpoint of its own."""
        with nursery.endpoint("--roll-seconds", str(ROLL_SECONDS)) as variables:
            yield variables
