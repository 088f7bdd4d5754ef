"""Make and check the checkpoint table itself: what `streamkit init` and a starting worker need."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from streamkit.aws.call import Call
from streamkit.aws.errors import Busy, Rejected
from streamkit.errors import ConfigurationError, Missing, Unanswered
from streamkit.ports import Clock

KEYS = {"pk": "HASH", "sk": "RANGE"}
EXPIRES = "expires"
"""The attribute by which DynamoDB forgets rows of the ledger, of redriven records, and what functions remember."""
CREATION_LIMIT = timedelta(seconds=120)
POLL_SECONDS = 0.25
HISTORY_TRIES = 30
HISTORY_WAIT_SECONDS = 2.0

Description = dict[str, Any]


async def check(call: Call, table: str) -> None:
    """Return if the table is there, ready and of our shape; one request.

    Raises `Missing` with the command that makes it, `ConfigurationError` with what was found instead.
    """
    found = (await call("DescribeTable", TableName=table))["Table"]
    _expect_our_shape(table, found)
    if found["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        raise ConfigurationError(f"expected table {table} to be ready, got status {found['TableStatus']}")


async def create(call: Call, table: str, *, clock: Clock, protected: bool = True) -> tuple[str, ...]:
    """Make the table unless it is there; return notes on what the endpoint does not offer.

    On-demand billing, expiry of ledger rows, point-in-time recovery and, if `protected`, deletion protection.
    Idempotent. Raises `ConfigurationError` for a table of another shape, `Unanswered` if it takes too long.
    """
    if not await _exists(call, table):
        await _request(call, table, protected=protected)
    _expect_our_shape(table, await _ready(call, table, clock))
    notes = [await _expire_ledger_rows(call, table), await _keep_history(call, table)]
    return tuple(note for note in notes if note)


async def _exists(call: Call, table: str) -> bool:
    try:
        await call("DescribeTable", TableName=table)
    except Missing:
        return False
    return True


async def _request(call: Call, table: str, *, protected: bool) -> None:
    """Ask for the table; somebody else who asks at the same time is as good."""
    try:
        await call(
            "CreateTable",
            TableName=table,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in KEYS.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in KEYS],
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=protected,
        )
    except Busy:
        return


async def _ready(call: Call, table: str, clock: Clock) -> Description:
    """Wait until the table can be used; return its description."""
    started = clock.monotonic()
    while True:
        try:
            found: Description = (await call("DescribeTable", TableName=table))["Table"]
        except Missing:  # it was asked for just now and is not seen everywhere yet
            found = {"TableStatus": "CREATING"}
        if found["TableStatus"] == "ACTIVE":
            return found
        if clock.monotonic() - started > CREATION_LIMIT.total_seconds():
            raise Unanswered(f"expected table {table} ready within {CREATION_LIMIT}, got status {found['TableStatus']}")
        await asyncio.sleep(POLL_SECONDS)


async def _expire_ledger_rows(call: Call, table: str) -> str | None:
    """Switch expiry on, if it is not; return a note where there is none."""
    try:
        answer = await call("DescribeTimeToLive", TableName=table)
        if answer["TimeToLiveDescription"].get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
            return None
        await call(
            "UpdateTimeToLive",
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES},
        )
    except Rejected as error:
        return f"ledger rows do not expire here: {error}"
    return None


async def _keep_history(call: Call, table: str) -> str | None:
    """Switch point-in-time recovery on, which a new table may put off; return a note where there is none."""
    for _ in range(HISTORY_TRIES):
        try:
            await call(
                "UpdateContinuousBackups",
                TableName=table,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        except Busy:
            await asyncio.sleep(HISTORY_WAIT_SECONDS)
        except Rejected as error:
            return f"no point-in-time recovery here: {error}"
        else:
            return None
    return "point-in-time recovery is not on yet: run the same command again"


def _expect_our_shape(table: str, found: Description) -> None:
    """Raise `ConfigurationError` unless the keys are ours."""
    types = {each["AttributeName"]: each["AttributeType"] for each in found.get("AttributeDefinitions", ())}
    keys = {each["AttributeName"]: each["KeyType"] for each in found.get("KeySchema", ())}
    if keys == KEYS and all(types.get(name) == "S" for name in KEYS):
        return
    shape = ", ".join(f"{name} {kind} {types.get(name, '?')}" for name, kind in keys.items())
    raise ConfigurationError(
        f"table {table}: expected the keys pk HASH S, sk RANGE S, got {shape}: "
        "it is not a checkpoint table, name another one"
    )
