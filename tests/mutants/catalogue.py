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
ATTEMPTS = f"{ENGINE}test_attempts.py"
KEYS = f"{ENGINE}test_business_keys.py"
SHARING = "tests/runtimes/test_sharing_a_stream.py"
POSITIONS = "tests/runtimes/test_positions.py"
RESHARDING = "tests/runtimes/test_resharding.py"
LEASE = "tests/runtimes/test_lease.py"
WINDOW = "tests/core/test_window.py"
HANDLERS = f"{ENGINE}test_handlers.py"
DEGRADED = "tests/runtimes/test_degraded_services.py"
STANDING = "tests/runtimes/test_standing_still.py"
REDRIVE = "tests/runtimes/test_redrive.py"
CANARY = "tests/test_canary.py"


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
    # What the frontier may pass
    mutant(
        "checkpoint before dead letter",
        "16",
        "core/settlement.py",
        "        self.condemned[ordinal] = verdict\n",
        "        self.condemned[ordinal] = verdict\n        self._window.settle(ordinal)\n",
        f"{POSITIONS}::test_a_dead_letter_is_durable_before_a_checkpoint_passes_it",
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[record]",
    ),
    mutant(
        "letters not awaited",
        "19",
        "engine/engine.py",
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
        "core/schedule.py",
        "        lane.queue.append((ordinal, record))\n",
        "        lane.queue.insert(len(lane.queue) > 1, (ordinal, record))\n",
        f"{SETTLING}::test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned[record]",
    ),
    mutant(
        "bisect runs a succeeded half again",
        "23",
        "core/schedule.py",
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
                file="engine/engine.py",
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
        "core/settlement.py",
        "        if self._worn_out:\n            return Verdict.CONDEMN if",
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
                old="(isinstance(error, Unavailable) and not self._worn_out):\n",
                new="(isinstance(error, Unavailable) and self._worn_out):\n",
            ),
            Patch(
                file="core/settlement.py",
                old="if isinstance(each, Unavailable) and not self._worn_out}",
                new="if isinstance(each, Unavailable) and self._worn_out}",
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
        "core/settlement.py",
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
    # Business keys
    mutant(
        "dedupe marked before the handler",
        "26",
        "engine/engine.py",
        "mine = await ledger.claim(key, claimant=record.id)",
        'mine = await ledger.claim(key, claimant=f"{record.id} {id(self)}")',
        f"{KEYS}::test_a_claim_outlives_a_crash_between_claim_and_effect",
        f"{KEYS}::test_the_same_event_put_twice_takes_effect_once_whatever_interrupts[record]",
    ),
    mutant(
        "a dead letter keeps its claim",
        "26",
        "engine/engine.py",
        "                await self._release_claim(letter.record)\n",
        "                await self._release_claim(letter.record) if False else None\n",
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
        "row.owner == me and row.id not in running)",
        "row.owner == me and row.id in ())",
        f"{SHARING}::test_a_take_whose_answer_was_lost_is_taken_anew",
    ),
    mutant(
        "a live owner's shard is taken",
        "6",
        "runtimes/coordinator.py",
        "        if all(row.owner is None or row.owner in known for row in self._shards):\n",
        "        if known is not None:\n",
        f"{SHARING}::test_a_worker_that_joined_since_the_members_were_read_keeps_its_shard",
    ),
    mutant(
        "suspicion counted from when it was asked",
        "2",
        "runtimes/coordinator.py",
        "        self._sightings.note(members, self._clock.monotonic())\n        suspects",
        "        self._sightings.note(members, asked)\n        suspects",
        f"{SHARING}::test_a_slow_table_makes_nobody_look_dead",
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
        "runtimes/crew.py",
        "if (found.stream.arn, found.stream.incarnation) != (stream.arn, stream.incarnation):",
        "if found.stream.arn != stream.arn:",
        f"{POSITIONS}::test_a_stream_made_again_under_its_name_is_refused",
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
        "engine/engine.py",
        "                if not self._may_start():\n                    return unsent, None\n",
        "                if self._may_start() is None:\n                    return unsent, None\n",
        f"{HANDLERS}::test_the_fence_is_asked_between_a_claim_and_the_next_and_before_the_letters_go",
    ),
    mutant(
        "what a handler returns is ignored",
        "8",
        "engine/engine.py",
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
        "a redriven effect is not noted",
        "30",
        "runtimes/redrive.py",
        "if outcome is not Outcome.DUPLICATE])",
        "if outcome is None])",
        f"{REDRIVE}::test_a_letter_whose_deletion_was_lost_is_deleted_by_the_next_run_without_effect",
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
        "core/settlement.py",
        "                error=_short(cause.type) if cause else None,\n",
        "                error=cause.message if cause else None,\n",
        f"{CANARY}::test_a_thousand_marked_records_through_every_trouble_leave_no_trace_in_the_logs",
        f"{CANARY}::test_batches_of_marked_records_leave_none_either",
    ),
)
