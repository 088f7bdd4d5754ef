"""What operators see of functions, and do to them: `status` names a halt, `resume` lifts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamkit.cli.resume import lift
from streamkit.testing.contracts.halts import a_halt
from streamkit.testing.memory import MemoryHalts
from tests.functions.stage import SHARD, kinesis, sequence

Run = Callable[..., Any]
PROGRAM = """
import json, sys
from of_{word} import {word}

class Context:
    def get_remaining_time_in_millis(self): return 20_000

print(json.dumps({word}.lambda_handler(json.loads(sys.argv[1]), Context())))
"""


@pytest.mark.e2e
@pytest.mark.parametrize("factor", ["1", ""], ids=["factor 1", "any factor"])
def test_a_halt_of_a_function_is_seen_and_lifted(
    run: Run, stage: Callable[..., str], world: Mapping[str, str], project: Path, factor: str
) -> None:
    """A record is dead-lettered, what is behind it waits until a person says so, and then goes on."""
    word = f"standing{factor}"
    path = stage(
        word, handler="if record.data == b'2': raise Poison('bad')", settings="on_dead_letter='halt', concurrency=1"
    )
    assert run("init", path, "--queue").status == 0
    settings = {"STREAMKIT_PARALLELIZATION_FACTOR": factor} if factor else {}

    def invoke(*numbers: int) -> Sequence[dict[str, str]]:
        return answer(word, kinesis(*numbers, keys=1), project, {**world, **settings})

    assert invoke(1, 2, 3, 4) == [{"itemIdentifier": sequence(3)}]
    assert invoke(3, 4) == [{"itemIdentifier": sequence(3)}]
    for named in (("status", path), ("status", "--table", f"streamkit-{word}")):
        seen = run(*named)
        assert seen.status == 1, seen.err
        assert f"{SHARD} stands still in its function, from record {sequence(3)} on:" in " ".join(seen.out.split())
    [told] = json.loads(run("status", path, "--json").out)
    assert [each["sequence"] for each in told["halts"]] == [sequence(3)]
    resumed = run("resume", path, "--shard", "0")
    assert resumed.status == 0, resumed.err
    assert f"shard {SHARD} goes on in its function; it was halted: " in resumed.out
    assert invoke(3, 4) == []
    assert run("resume", path).complaint.startswith("expected a registration in table")
    assert "no function stands still" in run("status", path).err


async def test_only_the_named_shard_goes_on() -> None:
    """By id or number; none is named: all."""
    halts, found = MemoryHalts(), [a_halt() for _ in range(3)]
    for each in found:
        await halts.halt(each)
    assert await lift(halts, found[1].shard) == [found[1]]
    assert await lift(halts, "nowhere") == []
    assert {each.name for each in await lift(halts, None)} == {found[0].name, found[2].name}
    assert list(await halts.standing()) == []


def answer(
    word: str, event: Mapping[str, Any], project: Path, variables: Mapping[str, str]
) -> Sequence[dict[str, str]]:
    """Invoke a consumer's `lambda_handler` in a process of its own; return what it names as not settled."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(word=word), json.dumps(event)],
        cwd=project,
        env={**os.environ, **variables, "STREAMKIT_PARTIAL_RESPONSES": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, str]]] = json.loads(done.stdout.splitlines()[-1])
    return found["batchItemFailures"]
