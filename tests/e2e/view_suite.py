"""A view equals its table, whoever was killed on the way: on whatever endpoint the fixture `variables` leads to."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.view import PATH, Scene
from tests.e2e.waiting import eventually
from tests.nursery import Nursery

KILLS = 3


@pytest.mark.e2e
@pytest.mark.slow
class ViewSuite:
    """Fixture `variables`: what leads an AWS SDK to the endpoint."""

    rolls = False
    """Whether shards roll, and what is to expire does, within seconds: not everywhere."""

    @pytest.fixture
    def scene(self, variables: Mapping[str, str], tmp_path: Path, nursery: Nursery) -> Iterator[Scene]:
        """Make the tables."""
        with Scene(variables, folder=tmp_path, nursery=nursery) as scene:
            yield scene

    def test_the_view_equals_the_table_whatever_happened_on_the_way(self, scene: Scene) -> None:
        """Four write the same flights while three workers with shards are killed: exact to the last minute of delay."""
        scene.start()
        scene.start()
        with scene.writers() as writers:
            for _ in range(KILLS):
                writers.go_on(40)
                scene.kill()
            writers.go_on(40)
        assert {*writers.written} == {"put", "updated", "deleted", "left to expire"}
        if self.rolls:
            eventually(lambda: scene.left_to_expire() == 0, "what is to expire does")
        eventually(lambda: bool(scene.wanted()) and scene.view() == scene.wanted(), "the view equals the table")
        scene.stop()
        scene.run("run", PATH, "--until-idle", "0.5").end()
        assert scene.view() == scene.wanted(), "a successor found something left to do"
        assert scene.events("record.condemned", "shard.failed", "records.trimmed") == 0
        assert bool(scene.events("shard.ended")) is self.rolls
