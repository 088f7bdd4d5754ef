"""What a shard's run needs besides its lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamkit.core.lineage import Shard
    from streamkit.core.policy import Checkpoint
    from streamkit.core.positions import Place
    from streamkit.core.settlement import Tally
    from streamkit.engine.engine import Handling, Surroundings
    from streamkit.ports import Reader, Transactions
    from streamkit.runtimes.budget import Budget
    from streamkit.runtimes.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all parts of a shard's run go by."""

    handling: Handling
    around: Surroundings
    checkpoint: Checkpoint
    budget: Budget
    tally: Tally
    retention_seconds: float
    halt_on_gap: bool
    kpl_only: bool
    open_reader: Callable[[Shard, Place], Reader]
    children_of: Callable[[str], Awaitable[Sequence[Shard]]]
    tables: Transactions | None
    wave: int | None
    """Most records that are marked and not settled, where nothing is to be handled twice; None where it may be."""
    trial: Trial | None
    """How the suspects are tried, where a record may have killed the shard's owners (rule 22)."""
    is_trimmed: Callable[[str], Awaitable[bool]]
    """Whether the stream no longer has a shard, because all that was in it has expired (rules 11, 13)."""
