"""A process that cannot go on ends, so that its supervisor starts another (rule 2)."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOP = "while True: pass"
REGEX = "re.match('(a+)+$', 40 * 'a' + 'b')"
PROGRAM = """
import asyncio, re
from streamkit.runtimes.watchdog import watched

async def main():
    async with watched(0.5):
        await asyncio.sleep(1.5)
        print("turning", flush=True)
        {stuck}

asyncio.run(main())
"""


@pytest.mark.parametrize("stuck", [LOOP, REGEX], ids=["a loop", "a regular expression, which holds the lock"])
def test_a_loop_that_stands_still_ends_the_process_and_says_where(stuck: str) -> None:
    """Not while it turns, however long; then within the limit, whatever it is stuck in."""
    program = [sys.executable, "-c", PROGRAM.format(stuck=stuck)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stdout == "turning\n"
    assert "in main" in ended.stderr


def test_nothing_is_left_of_it_once_it_is_over() -> None:
    """The interpreter may stand still after."""
    program = PROGRAM.format(stuck="pass") + "import time; time.sleep(1)"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True, stdout=subprocess.DEVNULL)
