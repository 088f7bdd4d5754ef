"""`python -m streamkit.cli.ward MODULE:CONSUMER [CONFIG]`: a process apart for suspects, started by `streamkit run`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from streamkit.cli.failing import WRONG_USE, complain
from streamkit.cli.loading import configured
from streamkit.errors import ConfigurationError


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
