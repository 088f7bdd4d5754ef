"""Every rule broken on purpose, once, and the tests that notice. `docs/guarantees.md` points here.

A mutant is a few words of one product file put differently. Old text must occur exactly once, so that a change of the
product that outdates a mutant is noticed by `tests/mutants/test_catalogue.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGINE = "tests/engine/"
SETTLING = f"{ENGINE}test_settling_a_shard.py"
OUTAGE = f"{ENGINE}test_outage.py"
LETTERS = f"{ENGINE}test_dead_letters.py"
SUCCESSES = f"{ENGINE}test_successes.py"
ATTEMPTS = f"{ENGINE}test_attempts.py"
KEYS = f"{ENGINE}test_business_keys.py"
SHARING = "tests/runtimes/test_sharing_a_stream.py"
POSITIONS = "tests/runtimes/test_positions.py"
RESHARDING = "tests/runtimes/test_resharding.py"
IDENTITY = "tests/runtimes/test_identity.py"
AUDIT = "tests/runtimes/test_audit.py"
LEASE = "tests/runtimes/test_lease.py"
WINDOW = "tests/core/test_window.py"
HANDLERS = f"{ENGINE}test_handlers.py"
DEGRADED = "tests/runtimes/test_degraded_services.py"
STANDING = "tests/runtimes/test_standing_still.py"
REDRIVE = "tests/runtimes/test_redrive.py"
REPLAY = "tests/runtimes/test_replay.py"
CANARY = "tests/test_canary.py"
CHANGES = "tests/runtimes/test_changes.py"
TRANSACTIONS = "tests/runtimes/test_transactions.py"
ONCE = "tests/runtimes/test_at_most_once.py"
TWINS = "tests/functions/test_twins.py"
FAN_OUT = "tests/aws/test_fan_out.py"
TROUBLE = "tests/equivalence/test_trouble.py"


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One place of one product file."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A rule broken on purpose: each of `tests` must fail."""

    name: str
    rule: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


def mutant(name: str, rule: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """Make a mutant of one place."""
    return Mutant(name=name, rule=rule, patches=(Patch(file=file, old=old, new=new),), tests=tests)


MUTANTS = (
    # Transactions, and at most once
    mutant(
        "a commit without the condition on its epoch",
        "25",
        "aws/transaction.py",
        '("owner", "epoch", "revision")',
        '("state",)',
        "tests/aws/test_transactions.py::test_a_commit_is_conditional_on_owner_epoch_and_revision_and_the_same_to_the_byte",
    ),
    mutant(
        "a checkpoint apart from its writes",
        "25",
        "runtimes/shard.py",
        "self._changes(ordinals)",
        "self._changes()",
        f"{TRANSACTIONS}::test_a_kill_in_any_moment_repeats_and_loses_nothing",
    ),
    Mutant(
        name="two records of one lane in one transaction",
        rule="25",
        patches=(
            Patch(
                file="engine/transacting.py",
                old="            if not writes:",
                new="            self._settling.succeeded(attempt, 0.0)\n            if not writes:",
            ),
            Patch(
                file="engine/transacting.py",
                old="            self._settling.succeeded(each.attempt, now)\n",
                new="",
            ),
        ),
        tests=(f"{TRANSACTIONS}::test_a_kill_in_any_moment_repeats_and_loses_nothing",),
    ),
    mutant(
        "two records of one item in one transaction",
        "25",
        "core/transactions.py",
        "if taken & targets or",
        "if",
        "tests/core/test_transactions.py::test_records_go_together_within_the_limits_and_touch_no_item_twice",
    ),
    mutant(
        "a cancelled commit in doubt is left as it is",
        "5",
        "runtimes/lease.py",
        "if not (pending.doubtful and await self._has_happened(pending)):",
        "if True:",
        "tests/runtimes/test_commits.py::test_a_step_cancelled_after_a_lost_request_is_sealed",
        "tests/runtimes/test_commits.py::test_a_step_that_landed_behind_its_cancellation_counts_as_applied",
    ),
    mutant(
        "what was read is not held to be so",
        "25",
        "engine/transaction.py",
        "        return fitting([*writes, *reads.values()])\n",
        "        return fitting(self._writes)\n",
        "tests/contract/test_memory.py::TestTransactions",
        f"{TRANSACTIONS}::test_what_was_read_must_not_have_changed",
    ),
    mutant(
        "a wave is handled before it is marked",
        "25",
        "runtimes/shard.py",
        "                await self._mark(records[-1].position)\n                self._engine.feed(records)\n",
        "                self._engine.feed(records)\n                await self._mark(records[-1].position)\n",
        f"{ONCE}::test_what_a_kill_interrupted_is_a_letter_and_never_runs_again",
        f"{ONCE}::test_a_wave_is_marked_before_it_is_handled_with_one_write",
    ),
    mutant(
        "what was interrupted runs again",
        "25",
        "runtimes/incarnation.py",
        "            settling.interrupted(row.marked)\n",
        "            pass\n",
        f"{ONCE}::test_what_a_kill_interrupted_is_a_letter_and_never_runs_again",
    ),
    # What the frontier may pass
    mutant(
        "checkpoint before dead letter",
        "16",
        "core/troubles.py",
        "        self.condemned[ordinal] = verdict\n",
        "        self.condemned[ordinal] = verdict\n        self._record_of.__self__.settle(ordinal)\n",
        f"{POSITIONS}::test_a_dead_letter_is_durable_before_a_checkpoint_passes_it",
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[record]",
    ),
    mutant(
        "letters not awaited",
        "19",
        "engine/burial.py",
        "return frozenset(letter.record.id for letter in error.letters), error",
        "return frozenset(), None",
        f"{LETTERS}::test_a_queue_that_is_down_stops_the_frontier_and_loses_nothing[record]",
    ),
    mutant(
        "frontier passes what is unsettled",
        "16",
        "core/window.py",
        "        if ordinal != self._settled:\n            return\n",
        "        self._settled = max(self._settled, ordinal + 1)\n        if ordinal >= 0:\n            return\n",
        f"{WINDOW}::test_frontier_and_done_set_are_exact_over_any_number_of_owners",
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[record]",
    ),
    mutant(
        "done set ignored at takeover",
        "17",
        "core/window.py",
        "if progress.decoding == decoding and progress.first else bytearray()",
        "if progress.decoding < 0 else bytearray()",
        f"{SHARING}::test_what_ran_ahead_of_the_frontier_is_not_repeated_by_a_successor",
        f"{WINDOW}::test_frontier_and_done_set_are_exact_over_any_number_of_owners",
    ),
    mutant(
        "done bits kept though their records were trimmed",
        "17",
        "core/window.py",
        "if ordinal == 0 and self._ahead and not self._is_first(record):",
        "if ordinal < 0:",
        f"{WINDOW}::test_done_bits_of_records_that_were_trimmed_are_dropped",
    ),
    mutant(
        "done set forgotten by the successor's first checkpoint",
        "17",
        "core/window.py",
        "+ self._ahead[self._admitted :]",
        "+ bytearray()",
        f"{WINDOW}::test_a_new_owner_keeps_the_bits_of_what_it_has_not_read_yet",
    ),
    # Order, attempts, outages
    mutant(
        "lane order broken",
        "goal 2",
        "core/lanes.py",
        "            lane.queue.append((ordinal, record))\n",
        "            lane.queue.insert(len(lane.queue) > 1, (ordinal, record))\n",
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[record]",
    ),
    mutant(
        "what follows a handler that waits runs beside it",
        "goal 2",
        "core/lanes.py",
        "        stretch.attempt = self._open_lane(stretch.first + last, stretch.records[last])\n",
        "        stretch.attempt = self._open_lane(stretch.first + last, stretch.records[last])\n"
        '        self._lanes[f"{stretch.first}\'"] = self._lanes.pop(stretch.records[last].key)\n',
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[quick]",
    ),
    mutant(
        "a record whose handler waits is taken for handled",
        "16",
        "core/settlement.py",
        "self._pass(stretch, stretch.started - 1)",
        "self._pass(stretch, stretch.started)",
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[quick]",
    ),
    mutant(
        "the fence is asked once a stretch",
        "3",
        "engine/engine.py",
        "                if not may_start():\n",
        "                if stretch.started == 1 and not may_start():\n",
        f"{ATTEMPTS}::test_the_fence_is_asked_when_the_handler_starts_not_when_its_task_is_made[quick]",
    ),
    mutant(
        "bisect runs a succeeded half again",
        "23",
        "core/segments.py",
        '        """The whole attempt is settled."""\n        self._running = None\n',
        '        """The whole attempt is settled."""\n        self._running = None\n        if self._pieces:\n'
        "            self._pieces[0][:0] = zip(attempt.ordinals, attempt.records, strict=True)\n",
        f"{LETTERS}::test_bisecting_finds_one_bad_record_among_a_hundred_and_never_runs_a_succeeded_half_again",
    ),
    Mutant(
        name="a retry overlaps a timed-out attempt",
        rule="8",
        patches=(
            Patch(
                file="engine/watch.py",
                old="cancellable=handling.threads is None",
                new="cancellable=True",
            ),
            Patch(
                file="engine/handling.py",
                old="            if future.cancelled():\n                raise\n",
                new="            raise\n",
            ),
        ),
        tests=(f"{ATTEMPTS}::test_an_attempt_in_a_thread_is_waited_for_and_never_overlapped",),
    ),
    mutant(
        "a cancelled shard goes on in its thread",
        "8",
        "engine/engine.py",
        "                self.stop()  # a thread",
        "                pass  # a thread",
        f"{ATTEMPTS}::test_nothing_starts_after_cancellation[thread]",
    ),
    mutant(
        "evidence ignored",
        "20",
        "core/troubles.py",
        "        if self.worn_out:\n            return Verdict.CONDEMN if",
        "        if self._rules:\n            return Verdict.CONDEMN if",
        f"{OUTAGE}::test_when_everything_fails_nothing_is_condemned_before_the_outage_limit[record]",
    ),
    mutant(
        "an outage shorter than a handler condemns",
        "20",
        "core/evidence.py",
        "return Verdict.WAIT if others and self.keeps_last(ordinal) else Verdict.RETRY",
        "return Verdict.RETRY",
        f"{OUTAGE}::test_an_outage_shorter_than_a_slow_handler_condemns_nobody",
    ),
    Mutant(
        name="unavailable costs an attempt",
        rule="20",
        patches=(
            Patch(
                file="core/settlement.py",
                old="(isinstance(error, Unavailable) and patient):\n",
                new="(isinstance(error, Unavailable) and not patient):\n",
            ),
            Patch(
                file="core/settlement.py",
                old="if isinstance(each, Unavailable) and patient}",
                new="if isinstance(each, Unavailable) and not patient}",
            ),
        ),
        tests=(
            f"{OUTAGE}::test_unavailable_pauses_the_shard_and_costs_no_attempt[bisect]",
            f"{OUTAGE}::test_unavailable_named_for_one_record_of_a_batch_costs_no_attempt_either",
        ),
    ),
    mutant(
        "attempts never count again",
        "20",
        "core/troubles.py",
        "        if self._breaker.worn_out(now):\n",
        "        if self._breaker.worn_out(now - 1e9):\n",
        f"{OUTAGE}::test_after_the_limit_attempts_count_again[record]",
    ),
    mutant(
        "parked keys forgotten at takeover",
        "21",
        "runtimes/incarnation.py",
        "parked=row.parked,",
        "parked=(),",
        f"{POSITIONS}::test_parked_keys_survive_takeover",
    ),
    mutant(
        "an earlier record of a key follows a later one into the queue",
        "21",
        "core/settlement.py",
        'if self._rules.on_dead_letter != "park" or',
        'if self._rules.on_dead_letter != "" or',
        f"{LETTERS}::test_an_earlier_record_of_a_key_is_not_parked_by_a_later_one",
    ),
    # Business keys
    mutant(
        "dedupe marked before the handler",
        "26",
        "engine/screen.py",
        "mine = await self._ledger.claim(key, claimant=record.id)",
        'mine = await self._ledger.claim(key, claimant=f"{record.id} {id(self)}")',
        f"{KEYS}::test_a_claim_outlives_a_crash_between_claim_and_effect",
        f"{KEYS}::test_the_same_event_put_twice_takes_effect_once_whatever_interrupts[record]",
    ),
    mutant(
        "a dead letter keeps its claim",
        "26",
        "engine/burial.py",
        "                await self._screen.release(letter.record)\n",
        "                await self._screen.release(letter.record) if False else None\n",
        f"{KEYS}::test_a_dead_letter_releases_the_claim",
    ),
    # Leases
    mutant(
        "unconditional checkpoint",
        "1",
        "runtimes/lease.py",
        "            if refused.row is not None and refused.row.token == wanted.token:\n",
        "            if refused.row is not None:\n",
        f"{LEASE}::test_a_write_refused_for_another_owner_loses_the_lease",
        f"{SHARING}::test_a_stolen_shard_stops_and_writes_nothing_more",
    ),
    mutant(
        "unconditional checkpoint, in the table",
        "1",
        "testing/memory/table.py",
        "(row.owner, row.epoch, row.revision) != (held.owner, held.epoch, held.revision)",
        "row.revision < 0",
        f"{LEASE}::test_a_write_in_doubt_is_sent_again_to_the_byte[late]",
        "tests/contract/test_memory.py::TestLeases",
    ),
    mutant(
        "a newer write on a guess",
        "5",
        "runtimes/lease.py",
        "        async with self._writing:\n            await self._resolve()\n",
        "        async with self._writing:\n",
        f"{LEASE}::test_after_a_cancelled_write_the_same_write_is_settled_first",
    ),
    mutant(
        "take without raising the epoch",
        "4",
        "runtimes/lease.py",
        "epoch=seen.epoch + 1,",
        "epoch=seen.epoch,",
        f"{LEASE}::test_a_take_raises_the_epoch_and_returns_the_row_as_it_is_then",
    ),
    mutant(
        "a row that names me is left alone",
        "4",
        "core/leasing.py",
        "takers[row.id] == me and row.id not in running)",
        "takers[row.id] == me and row.owner != me)",
        f"{SHARING}::test_a_take_whose_answer_was_lost_is_taken_anew",
    ),
    mutant(
        "a live owner's shard is taken",
        "6",
        "runtimes/lookout.py",
        "        if all(row.owner is None or row.owner in known for row in self.shards):\n",
        "        if known is not None:\n",
        f"{SHARING}::test_a_worker_that_joined_since_the_members_were_read_keeps_its_shard",
    ),
    mutant(
        "suspicion counted from when it was asked",
        "2",
        "runtimes/lookout.py",
        "        self._sightings.note(members, self._clock.monotonic())\n        suspects",
        "        self._sightings.note(members, asked)\n        suspects",
        f"{SHARING}::test_a_slow_table_makes_nobody_look_dead",
    ),
    mutant(
        "what a shard brings is not looked at",
        "6",
        "core/leasing.py",
        "weight = weights(levels_of(ready, members))",
        "weight = weights(dict.fromkeys(by_id))",
        f"{SHARING}::test_a_shard_that_brings_most_is_balanced_by_those_that_bring_little",
    ),
    mutant(
        "any change of load is worth a pause",
        "6",
        "core/balance.py",
        "CLEAR = 0.25\n",
        "CLEAR = 0.0\n",
        "tests/core/test_balance.py::test_noise_moves_nothing[0]",
    ),
    mutant(
        "moves under way set others in motion",
        "6",
        "core/leasing.py",
        "return row.prefers if row.owner is None and row.prefers in alive else None",
        "return None",
        "tests/core/test_leasing.py::test_moves_of_others_that_are_under_way_change_nobodys_mind",
    ),
    mutant(
        "a hand-over is planned by rows that are out of date",
        "6",
        "runtimes/coordinator.py",
        "if steps.moves and self._lookout.current and not any(",
        "if steps.moves and not any(",
        f"{SHARING}::test_nothing_is_handed_over_by_rows_that_are_out_of_date[0]",
    ),
    mutant(
        "a level follows the rate at once",
        "6",
        "core/balance.py",
        "STICKY = 0.75\n",
        "STICKY = 0.0\n",
        "tests/core/test_balance.py::test_a_rate_that_swings_around_a_border_keeps_its_level",
    ),
    mutant(
        "a worker gives and gets without bound",
        "6",
        "core/balance.py",
        "        if max(gives[each.giver], takes[each.taker]) > AT_ONCE:\n",
        "        if max(gives[each.giver], takes[each.taker]) < 0:\n",
        "tests/core/test_balance.py::test_no_worker_gives_or_gets_more_than_it_can_at_once",
    ),
    Mutant(
        name="a peak is passed on whole",
        rule="6",
        patches=(
            Patch(file="core/balance.py", old="FIT = 0.75\n", new="FIT = 2.0\n"),
            Patch(file="core/balance.py", old="    return clear if lower else {}\n", new="    return clear\n"),
        ),
        tests=("tests/core/test_balance.py::test_plans_come_to_rest_and_never_make_it_worse",),
    ),
    mutant(
        "a shard given back is told with the next heartbeat",
        "6",
        "runtimes/heart.py",
        "        if self._loop is not None and not self._told():\n",
        "        if self._loop is not None and self._told() is None:\n",
        f"{SHARING}::test_a_shard_handed_over_stands_still_for_no_longer_than_a_look",
    ),
    mutant(
        "a large fleet looks as often as a small one",
        "6",
        "runtimes/incarnation.py",
        "least * max(1.0, workers / SMALL_FLEET)",
        "least * max(1.0, 1 / SMALL_FLEET)",
        f"{SHARING}::test_a_large_fleet_looks_less_often",
    ),
    mutant(
        "all rows in one bucket",
        "9",
        "runtimes/crew.py",
        "ceil(max(1, shards) / SHARDS_A_BUCKET)",
        "1",
        f"{SHARING}::test_a_table_has_a_bucket_for_every_500_shards_of_the_first_listing",
    ),
    mutant(
        "one shard a plan",
        "6",
        "core/balance.py",
        "AT_ONCE = 50\n",
        "AT_ONCE = 1\n",
        f"{SHARING}::test_a_newcomer_is_given_its_whole_share_within_seconds",
    ),
    mutant(
        "a tombstone is removed too early",
        "2",
        "core/leasing.py",
        "KEPT_SECONDS = 3600.0\n",
        "KEPT_SECONDS = 60.0\n",
        f"{SHARING}::test_rows_of_workers_that_are_gone_are_removed_after_an_hour",
    ),
    mutant(
        "tombstones are kept for ever",
        "2",
        "runtimes/coordinator.py",
        "            await self._lookout.forget(members)\n",
        "",
        f"{SHARING}::test_rows_of_workers_that_are_gone_are_removed_after_an_hour",
    ),
    mutant(
        "fence ignored",
        "3",
        "engine/engine.py",
        "        if not self._around.may_start():\n",
        "        if self._around.may_start() is None:\n",
        f"{ATTEMPTS}::test_once_the_fence_is_down_no_handler_starts[record]",
        f"{ATTEMPTS}::test_the_fence_is_asked_after_the_ledger_answered",
    ),
    mutant(
        "fence counted from the answer",
        "3",
        "runtimes/fence.py",
        "self._until = max(self._until, sent + self._reach)",
        "self._until = max(self._until, self._clock.monotonic() + self._reach)",
        f"{LEASE}::test_the_fence_holds_for_nine_tenths_of_a_lease_after_a_beat_was_sent",
    ),
    mutant(
        "a drain that does not release",
        "7",
        "runtimes/shard.py",
        "await self._write(owner=None, prefers=self._prefers)",
        "await self._write()",
        f"{SHARING}::test_a_drain_cuts_off_what_does_not_end_within_the_grace_period",
    ),
    mutant(
        "a stuck worker beats on",
        "2",
        "runtimes/heart.py",
        "            if self._well():\n",
        "            if self._well() is not None:\n",
        f"{LEASE}::test_the_heart_does_not_beat_while_the_worker_is_stuck",
    ),
    # Lineage and position
    mutant(
        "child before parent",
        "11",
        "core/leasing.py",
        '(known is not None and known.state != "ended")',
        '(known is not None and known.state == "")',
        f"{RESHARDING}::test_a_merge_waits_for_both_parents",
        f"{RESHARDING}::test_a_shard_closed_long_ago_is_read_to_its_end_before_its_children",
    ),
    mutant(
        "a hole in the hash keys goes unnoticed",
        "11",
        "runtimes/audit.py",
        'if row.state != "ended") if rows else ()',
        "if row.epoch < 0)",
        f"{AUDIT}::test_a_row_deleted_under_its_owner_is_made_again_where_it_was",
        f"{AUDIT}::test_a_hole_that_no_listing_can_fill_is_reported_again_and_again",
    ),
    mutant(
        "a hole is believed at first sight",
        "11",
        "runtimes/audit.py",
        "self._apart = max(_APART_SECONDS, lease)",
        "self._apart = 0.0",
        f"{AUDIT}::test_a_row_deleted_under_its_owner_is_made_again_where_it_was",
    ),
    mutant(
        "an ended shard whose row was deleted is read again",
        "11",
        "runtimes/audit.py",
        "        if finished:\n",
        "        if finished is None:\n",
        f"{AUDIT}::test_an_ended_row_that_was_deleted_is_not_read_again",
    ),
    mutant(
        "LATEST resolved anew after a crash",
        "15",
        "runtimes/shard.py",
        "row.progress.frontier or row.start\n",
        "row.progress.frontier or (row.start if isinstance(row.start, str) else type(row.start)(self._clock.now()"
        ".timestamp()))\n",
        f"{POSITIONS}::test_latest_is_resolved_once_so_that_a_crash_before_the_first_checkpoint_loses_nothing",
    ),
    mutant(
        "another stream of the same name accepted",
        "13",
        "runtimes/identity.py",
        "if (registered.arn, registered.incarnation) != (found.arn, found.incarnation):",
        "if registered.arn != found.arn:",
        f"{POSITIONS}::test_a_stream_made_again_under_its_name_is_refused",
        f"{IDENTITY}::test_a_worker_that_waited_takes_no_shard_of_another_stream",
    ),
    mutant(
        "shards are taken without asking whose they are",
        "13",
        "runtimes/coordinator.py",
        "            await self._identity.confirm()\n",
        "            pass\n",
        f"{IDENTITY}::test_a_worker_that_waited_takes_no_shard_of_another_stream",
    ),
    mutant(
        "a quiet shard taken for a gap",
        "14",
        "runtimes/gaps.py",
        "max(row.caught_up_at or 0.0, row.frontier_arrived or 0.0)",
        "(row.frontier_arrived or 0.0)",
        f"{POSITIONS}::test_a_shard_that_was_caught_up_and_quiet_is_no_gap",
    ),
    mutant(
        "a checkpoint for every record",
        "18",
        "runtimes/shard.py",
        "                await self._until_due()\n",
        "                settled.clear()\n",
        f"{POSITIONS}::test_a_count_of_records_writes_a_checkpoint_before_its_interval",
    ),
    # Handlers, burials, ledger
    mutant(
        "a fenced burial goes on",
        "3",
        "engine/engine.py",
        "                if not self._may_start():\n                    return\n",
        "                if self._may_start() is None:\n                    return\n",
        f"{HANDLERS}::test_a_fenced_worker_sends_no_letter_once_the_queue_is_back",
        f"{HANDLERS}::test_a_fenced_worker_releases_no_claim",
    ),
    mutant(
        "a burial asks the fence once",
        "3",
        "engine/burial.py",
        "                if not self._may_go_on():\n                    return unsent, None\n",
        "                if self._may_go_on() is None:\n                    return unsent, None\n",
        f"{HANDLERS}::test_the_fence_is_asked_between_a_claim_and_the_next_and_before_the_letters_go",
    ),
    mutant(
        "what a handler returns is ignored",
        "8",
        "engine/handling.py",
        "    if result is not None:\n",
        "    if result is NotImplemented:\n",
        f"{HANDLERS}::test_a_handler_that_returns_anything_is_an_error_never_success",
    ),
    mutant(
        "the time-out runs while a thread is waited for",
        "8",
        "engine/engine.py",
        "        threads = self._handling.threads\n        if threads is not None",
        "        threads = self._handling.threads\n        watch.begin(attempt)\n        if threads is not None",
        f"{HANDLERS}::test_waiting_for_a_thread_takes_no_handlers_time",
    ),
    mutant(
        "a stop is not seen by who waited for a thread",
        "7",
        "engine/engine.py",
        "        if self._stopping:\n            threads.release()\n"
        "            self._settling.abandoned(attempt)\n        return not self._stopping\n",
        "        return True\n",
        f"{HANDLERS}::test_a_handler_that_waited_for_a_thread_does_not_start_once_it_must_not",
    ),
    mutant(
        "the ledger's trouble counts in the end",
        "19",
        "core/settlement.py",
        "isinstance(error, WorldDown) or (",
        "isinstance(error, dict) or (",
        f"{HANDLERS}::test_a_ledger_that_is_down_is_never_held_against_a_record",
    ),
    # Degraded services
    mutant(
        "records run ahead without bound",
        "19",
        "runtimes/shard.py",
        "undurable = settling.admitted - self._durable",
        "undurable = settling.pending",
        f"{DEGRADED}::test_records_run_ahead_of_the_last_durable_checkpoint_by_a_bounded_number_only",
    ),
    mutant(
        "a listing without answer stops the tick",
        "6",
        "runtimes/coordinator.py",
        "        except (Throttled, Unanswered, TimeoutError) as error:\n",
        "        except ZeroDivisionError as error:\n",
        f"{DEGRADED}::test_a_dead_workers_shards_are_taken_although_the_stream_lists_nothing",
    ),
    mutant(
        "a broken shard is tried each tick",
        "6",
        "runtimes/coordinator.py",
        "            self._hold_off(run.id)\n",
        "            self._held_off.clear()\n",
        f"{DEGRADED}::test_a_shard_whose_loop_breaks_is_tried_again_after_ever_longer_pauses",
    ),
    mutant(
        "idle although a broken shard waits",
        "6",
        "runtimes/coordinator.py",
        "row.owner == self._me or row.owner not in fresh",
        "row.owner not in fresh",
        f"{DEGRADED}::test_a_worker_that_leaves_a_broken_shard_alone_for_a_while_is_not_idle",
    ),
    mutant(
        "parked keys stay behind in the parents",
        "21",
        "runtimes/coordinator.py",
        "if each.id in row.shard.parents]",
        "if each.id in ()]",
        f"{STANDING}::test_parked_keys_stay_parked_over_a_split_and_a_merge",
    ),
    mutant(
        "a resumed shard halts at the same gap",
        "14",
        "cli/resume.py",
        "halted=None, caught_up_at=seen,",
        "halted=None,",
        f"{STANDING}::test_a_shard_halted_by_a_gap_goes_on_after_resume",
    ),
    mutant(
        "settled before anybody is told",
        "16",
        "engine/engine.py",
        "told = not done or await announcing.told(",
        "told = not done or announcing.told(",
        f"{SUCCESSES}::test_a_queue_that_takes_nothing_stops_progress_and_repeats_no_effect",
        "tests/runtimes/test_successes.py::test_an_outage_of_its_queue_stops_checkpoints_and_repeats_nothing",
    ),
    mutant(
        "a redriven effect is not noted",
        "30",
        "runtimes/redrive.py",
        "if outcome is not Outcome.DUPLICATE])",
        "if outcome is None])",
        f"{REDRIVE}::test_a_letter_whose_deletion_was_lost_is_deleted_by_the_next_run_without_effect",
    ),
    mutant(
        "a replay takes what arrived at its end for its own",
        "30",
        "core/replay.py",
        "<= record.arrived < self.until",
        "<= record.arrived <= self.until",
        f"{REPLAY}::test_neighbouring_ranges_share_no_record",
    ),
    mutant(
        "replayed records are not flagged",
        "30",
        "runtimes/excerpt.py",
        "replace(each, replayed=True)",
        "replace(each, replayed=False)",
        f"{REPLAY}::test_a_replay_handles_its_range_once_more_and_nothing_else",
    ),
    mutant(
        "a replay begun too late tells nobody",
        "14",
        "runtimes/replay.py",
        "and self._replay.since < oldest",
        "and self._replay.since < 0",
        f"{REPLAY}::test_a_shard_that_was_not_begun_before_its_records_expired_is_reported",
    ),
    mutant(
        "the rest of an aggregate is taken for handled by the KCL",
        "17",
        "core/kcl.py",
        "return Position(text, subsequence)",
        "return Position(text)",
        "tests/core/test_kcl.py::test_rows_of_the_real_kcl_become_rows_that_go_on_after_what_it_handled",
    ),
    mutant(
        "parked letters overtake the first of their key",
        "30",
        "core/sorting.py",
        " and not (parked and letter.record.key in skipped)",
        "",
        f"{REDRIVE}::test_a_filter_does_not_let_parked_letters_overtake",
    ),
    mutant(
        "memory held elsewhere starves a shard",
        "goal 5",
        "runtimes/budget.py",
        "        while self.used >= self._limit and held():\n",
        "        while self.used >= self._limit:\n",
        f"{STANDING}::test_a_shard_that_stands_still_with_much_in_memory_does_not_starve_another",
    ),
    mutant(
        "nobody is told of a head held up",
        "17",
        "runtimes/shard.py",
        "        elif now - self._told >= _LAG_SECONDS:\n",
        "        elif now < 0:\n",
        f"{STANDING}::test_a_head_that_is_held_up_is_told_of_once_a_minute_until_it_moves",
    ),
    # Tables, identities, logs
    mutant(
        "another consumer's table accepted",
        "10",
        "runtimes/crew.py",
        "        if found.consumer != consumer.name:\n",
        "        if not found.consumer:\n",
        f"{POSITIONS}::test_the_table_of_another_consumer_is_refused",
    ),
    mutant(
        "children made before their parent's end is",
        "12",
        "testing/memory/table.py",
        "        row = self.shard_rows.get(held.id)\n",
        "        self._add(children)\n        row = self.shard_rows.get(held.id)\n",
        "tests/contract/test_memory.py::TestLeases",
    ),
    mutant(
        "a record's id changes with its attempt",
        "27",
        "core/records.py",
        '{self.sequence_number}:{self.subsequence}"',
        '{self.sequence_number}:{self.subsequence}:{self.attempt}"',
        "tests/core/test_records.py::test_the_id_names_the_record_for_ever",
    ),
    mutant(
        "a letter without its payload",
        "28",
        "core/envelope.py",
        "        payload=record.data,\n",
        "        payload=None,\n",
        "tests/core/test_envelope.py::test_what_is_written_is_read_back",
    ),
    mutant(
        "an exception's message in the logs",
        "31",
        "core/troubles.py",
        "                error=_short(cause.type) if cause else None,\n",
        "                error=cause.message if cause else None,\n",
        f"{CANARY}::test_a_thousand_marked_records_through_every_trouble_leave_no_trace_in_the_logs",
        f"{CANARY}::test_batches_of_marked_records_leave_none_either",
    ),
    # Changes of tables
    mutant(
        "a younger stream begins at once",
        "13",
        "core/lineage.py",
        "[replace(each, parents=(crossing.id,)) if last and not each.parents else each for each in shards]",
        "shards",
        f"{CHANGES}::test_a_stream_enabled_again_is_followed_after_the_old_one",
    ),
    mutant(
        "a table made again taken for the same",
        "13",
        "aws/change_source.py",
        "incarnation=str(round(made * 1000))",
        'incarnation="1357000000000"',
        f"{CHANGES}::test_a_table_made_again_is_refused",
    ),
    mutant(
        "numbers through floats",
        "goal 1",
        "core/values.py",
        "_EXACT.create_decimal(text)",
        "Decimal(float(text))",
        "tests/core/test_values.py::test_whole_numbers_are_ints_whatever_their_spelling",
    ),
    mutant(
        "keys spelt as they came",
        "goal 2",
        "core/values.py",
        'msgspec.json.Encoder(order="sorted")',
        "msgspec.json.Encoder()",
        "tests/core/test_values.py::test_a_key_is_one_string_however_it_is_written",
    ),
    mutant(
        "a change's id that tells its shard",
        "27",
        "core/changes.py",
        'return f"{self.origin.stream}:{self.event_id}" if self.event_id else super().id',
        "return super().id",
        "tests/core/test_changes.py::test_the_id_is_the_same_for_every_delivery",
    ),
    mutant(
        "LATEST to the millisecond on whole seconds",
        "15",
        "aws/change_reader.py",
        "floor(place.epoch)",
        "place.epoch",
        "tests/contract/test_changes.py::TestChanges",
    ),
    mutant(
        "fan-out resumed after the continuation",
        "17",
        "aws/fan_out_reader.py",
        '{"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": self._continuation}',
        '{"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._continuation}',
        f"{FAN_OUT}::test_reading_goes_on_at_the_continuation",
        f"{FAN_OUT}::test_what_arrives_at_a_quiet_tip_after_a_break_is_not_missed",
    ),
    mutant(
        "a silent subscription waited for",
        "goal 1",
        "aws/fan_out_reader.py",
        "            async with asyncio.timeout(limit):\n",
        "            async with asyncio.timeout(None):\n",
        f"{FAN_OUT}::test_a_silent_connection_is_given_up",
    ),
    mutant(
        "a subscription fought for",
        "4",
        "aws/fan_out_renewal.py",
        "                wait += self._settings.apart_seconds * (1 + chance.fraction())\n",
        "                wait += 0.0\n",
        "tests/aws/test_fan_out_renewal.py::test_who_is_refused_waits_longer_than_the_one_it_waits_for",
    ),
    mutant(
        "a released shard's subscription kept",
        "7",
        "runtimes/shard.py",
        "        with closing(self._terms.open_reader(row.shard, place)) as reader:\n",
        "        if reader := self._terms.open_reader(row.shard, place):\n",
        "tests/runtimes/test_fan_out.py::test_a_deploy_repeats_nothing_and_hangs_up",
    ),
    mutant(
        "no polling where fan-out is not to be had",
        "goal 1",
        "aws/fan_out_reader.py",
        "        self._polling = KinesisReader(self._source, self._track)\n",
        "        self._polling = None\n",
        f"{FAN_OUT}::test_the_twentieth_and_first_consumer_is_refused_and_polls",
    ),
    mutant(
        "an heir of a parent as it was",
        "14",
        "runtimes/shard.py",
        "            last = replace(self.lease.row, caught_up_at=self._caught_up_at)\n",
        "            last = self.lease.row\n",
        f"{CHANGES}::test_a_consumer_that_was_caught_up_reports_no_gap_after_a_quiet_day",
    ),
    mutant(
        "a parent forgotten before its child ended",
        "11",
        "core/leasing.py",
        "        and row.id not in awaited\n",
        "",
        "tests/core/test_leasing.py::test_a_row_is_outlived_when_nobody_can_ask_for_it_again",
    ),
    mutant(
        "nobody is told that records grow old",
        "14",
        "runtimes/shard.py",
        "        if age >= retention / 2:\n",
        "        if age < 0:\n",
        f"{CHANGES}::test_half_a_retention_behind_is_an_alarm",
    ),
    mutant(
        "a change's letter read back as any record",
        "28",
        "core/envelope.py",
        "        change=isinstance(record, Change),\n",
        "        change=False,\n",
        "tests/core/test_envelope.py::test_a_change_is_read_back_as_a_change",
    ),
    # Lambda
    mutant(
        "a shard's watermark whatever the factor",
        "24",
        "runtimes/function/delivery.py",
        "in_turn=opened.consumer.parallelization_factor == 1",
        "in_turn=True",
        f"{TROUBLE}::test_in_trouble_nothing_is_lost_and_little_is_repeated",
    ),
    mutant(
        "a twin does not wait",
        "24",
        "runtimes/function/claims.py",
        "any(memo.lives(now) and memo.known.shares(share.records) for memo in memos)",
        "any(memo.lives(now) and memo.known.shares(share.records) for memo in ())",
        f"{TROUBLE}::test_in_trouble_nothing_is_lost_and_little_is_repeated",
    ),
    mutant(
        "a thawed zombie starts handlers",
        "24",
        "runtimes/function/claims.py",
        "        return self._fence.holds()\n",
        "        return True\n",
        f"{TROUBLE}::test_in_trouble_nothing_is_lost_and_little_is_repeated",
    ),
    mutant(
        "a late zombie writes over the new owner's memory",
        "24",
        "testing/memory/deliveries.py",
        "        if there is None or (there.token, there.revision) not in (\n"
        "            (memo.token, memo.revision - 1),\n"
        "            (memo.token, memo.revision),\n"
        "        ):\n",
        "        if there is None:\n",
        "tests/contract/test_memory.py::TestMemory",
    ),
    mutant(
        "the table lets a late zombie write",
        "24",
        "aws/memory.py",
        'ConditionExpression="#token = :token AND #revision = :before",',
        'ConditionExpression="attribute_exists(#token) AND :token <> :before AND attribute_exists(#revision)",',
        "tests/aws/suites.py::TestMemory",
    ),
    mutant(
        "a claim that lands twice passes for a write",
        "5",
        "aws/memory.py",
        "(#token <> :token AND (attribute_not_exists(#until) OR #until < :dead))",
        "#token = :token OR attribute_not_exists(#until) OR #until < :dead",
        "tests/aws/suites.py::TestMemory",
    ),
    mutant(
        "twins look before their claim is durable",
        "24",
        "testing/memory/deliveries.py",
        '        await self._asked("claim", lambda: self._slot(cell).setdefault(memo.token, (cell.latest, memo)))\n'
        "        others = [each for each in await self.near(cell) if each.token != memo.token]\n",
        "        others = [each for each in await self.near(cell) if each.token != memo.token]\n"
        '        await self._asked("claim", lambda: self._slot(cell).setdefault(memo.token, (cell.latest, memo)))\n',
        f"{TWINS}::test_in_whatever_order_requests_take_effect_two_deliveries_never_run_at_once",
    ),
    mutant(
        "a record that was not settled is remembered as settled",
        "24",
        "core/memory.py",
        "            wholes[name] = wholes.get(name, True) and is_settled\n",
        "            wholes[name] = True\n",
        "tests/core/test_memory.py::test_digests_are_exact_for_any_company",
        "tests/functions/test_answers.py::test_the_answer_names_the_first_record_that_is_not_settled",
    ),
    mutant(
        "the deadline is a verdict",
        "24",
        "runtimes/function/attempts.py",
        "return bool(self._cut) and _is_alone(subject) and any(place(each) in self._cut for each in _records(subject))",
        "return _is_alone(subject)",
        "tests/functions/test_deadlines.py::test_an_attempt_that_the_deadline_cuts_off_once_is_no_failure",
    ),
    mutant(
        "who is cut off is let off for ever",
        "24",
        "runtimes/function/attempts.py",
        "return bool(self._cut) and _is_alone(subject) and any(place(each) in self._cut for each in _records(subject))",
        "return False",
        "tests/functions/test_deadlines.py::test_a_record_that_takes_all_the_time_again_and_again_is_given_up_alone",
    ),
    mutant(
        "a halt ends with its invocation",
        "24",
        "runtimes/function/delivery.py",
        "        return None if name is None else await self._claims.halted(name)\n",
        "        return None\n",
        "tests/functions/test_answers.py::test_halting_on_a_dead_letter_outlasts_the_invocation",
    ),
    mutant(
        "what earlier deliveries settled is forgotten",
        "24",
        "core/memory.py",
        "flags = _either(flags, memo.known.ahead(records, decoding))",
        "flags = _either(flags, bytearray())",
        f"{TROUBLE}::test_in_trouble_nothing_is_lost_and_little_is_repeated",
    ),
)
