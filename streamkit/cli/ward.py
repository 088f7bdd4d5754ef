"""`python -m streamkit.cli.ward MODULE:CONSUMER [CONFIG]`: a process apart for suspects, which workers start."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from streamkit.cli.failing import WRONG_USE, complain
from streamkit.cli.loading import configured
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.runtimes.apart.ward import Ward


def wards(consumers: Sequence[Consumer], paths: Sequence[str], config: Path | None) -> Callable[[Consumer], Ward]:
    """Return what makes a process apart for the suspects of a consumer: one that imports it from the same place.

    What the worker asks before it calls the handler (`where`, `dedupe_key`) it goes on asking itself.
    """
    from streamkit.runtimes.apart.ward import ProcessWard

    commands = {each.name: command(path, config) for each, path in zip(consumers, paths, strict=True)}
    return lambda consumer: ProcessWard(commands[consumer.name])


def command(path: str, config: Path | None) -> list[str]:
    """Return what starts such a process for the consumer at MODULE:CONSUMER."""
    return [sys.executable, "-m", "streamkit.cli.ward", path, *([str(config)] if config else [])]


def main(path: str, config: str | None = None) -> int:
    """Serve the consumer until nobody asks any more; return the exit status."""
    from streamkit.runtimes.apart.child import prepare, serve

    asks, answers = prepare()
    try:
        plan = configured([path], config=Path(config) if config else None)
    except ConfigurationError as wrong:
        return complain(str(wrong), WRONG_USE)
    asyncio.run(serve(plan.consumers[0], asks, answers))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
