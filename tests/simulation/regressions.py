"""Seeds that once broke a promise, and what was wrong. They run with every `make test`.

A seed names a history only as long as the simulation draws the same things in the same order. When that changes, the
seeds stay as further seeds; what they found is also held by the mutants (`tests/simulation/mutants.py`) and by tests
that need no chance, where one is named.
"""

from __future__ import annotations

REGRESSIONS = {
    4: "a closed shard ended with the last of its suspects, and what followed them was lost (reading.py)",
    8: "the time-out of a second attempt came `grace` late: the watch kept its first timer (engine/watch.py)",
    11: "a listing older than a split called a parent finished: the child of a merge ran before it (coordinator.py)",
    20: "a fenced start raised NameError, was counted against the record and condemned it (engine/engine.py)",
    26: "shard rows read after the worker rows: who joined in between had no row, and was robbed (coordinator.py)",
    58: "a shard that was trimmed away whole ended the worker with `Missing`, at every start anew (reading.py)",
    91: "reading fell behind the retention and went on, silently (gaps.py)",
    116: "`caught_up_at` moved while records were unsettled: their trimming went unreported (reading.py)",
    143: "a join whose answers were lost for longer than the lease was buried, and ended the worker (incarnation.py)",
    147: "the referee: a thread outlasted grace and release, and the shard it kept from release was missed",
    230: "the heirs of a shard that was never read had nothing to tell a gap by (leasing.py, coordinator.py)",
    354: "so had the heirs of a shard of the first snapshot (coordinator.py)",
    438: "none of the product: the referee asked for a report of what was older than the first snapshot",
    503: "a record settled before the killer was tried in its place, and the killer acquitted for ever (trial.py)",
    850: "the run of a shard trimmed away whole broke where a listing it needed was refused (coordinator.py)",
    1023: "the reader in memory stood still before records that arrived too early for `LATEST` (memory/stream.py)",
    2040: "the stream in memory rounded arrivals up that the service cuts off (memory/stream.py)",
    8055: "the moment of the first snapshot hid what was trimmed of the backlog behind a frontier (checkpoints.py)",
    20170: "half the rates were known, and a shard went to and fro by what others seemed to bring (balance.py)",
    20368: "the referee: done bits dropped over a trimmed gap, after a hand-over (rule 17), were called a repeat",
    30219: "a slow answer from the tip counted from its coming, not from its asking: a gap unseen (gaps.py)",
    30391: "fenced with a verdict to bury, the engine started burials in a busy loop (engine/engine.py)",
    30744: "the same",
    31051: "after a stop longer than time-out and grace, an attempt just cancelled was called stuck (engine/watch.py)",
    50171: "a worker fenced beside a thread that did not end said so only when it did (incarnation.py)",
    100203: "the referee: what three owners died of alone may be condemned, though it never started with one of them",
    100466: "an owner fenced went on to mark steps of its other shards, and its death fell upon them all (trial.py)",
    102871: "the referee: bits lost to a gap were read as if what was trimmed behind it had been in the window",
    103819: "trimmed in the midst of what had run ahead, done bits named other records, which were lost (window.py)",
    200475: "the referee: a process waits beside a thread that never ends until that is called stuck, SIGTERM or not",
    200561: "a stream that was slow to say who it was was taken for the registered one (identity.py)",
    201341: "a shard that ended while others were taken was offered, and its worker fell (coordinator.py)",
    300073: "a heart just about to wake by itself was woken, and its loop raised (heart.py)",
    400016: "the referee: what parked its key, read again over a trimmed gap, is one of its parked records",
    400213: "the referee: bits that count from a record trimmed beside a worker that still reads were believed",
    400948: "the referee: what had arrived before the first snapshot counted against the window",
    401397: "the referee: whoever is drained writes nothing after its time, though a thread that never ends keeps it",
    1000812: "the referee: what a transaction's reads took was no part of how long its handler did",
    2010328: "the referee: a fast clock told of a gap a moment too early, and what ran ahead was taken for known",
    5000124: "two records of one event in a batch were each taken for a duplicate of the other (screen.py)",
    5000130: "what a claim of a business key took counted as its handler's time, and condemned its record (watch.py)",
}
