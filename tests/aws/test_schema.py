"""Making and checking the checkpoint table."""

from typing import Any

import pytest

from streamkit.aws.call import Call
from streamkit.aws.errors import Busy, Rejected
from streamkit.aws.schema import check, create
from streamkit.clock import SystemClock
from streamkit.errors import ConfigurationError, Missing, Unanswered
from streamkit.testing import VirtualClock, run_virtual


async def test_a_table_is_made_as_it_has_to_be(dynamodb: Call, name: str) -> None:
    """On demand, protected, recoverable, with expiry on the ledger's attribute only."""
    assert await create(dynamodb, name, clock=SystemClock()) == ()
    await check(dynamodb, name)
    table = (await dynamodb("DescribeTable", TableName=name))["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] is True
    expiry = (await dynamodb("DescribeTimeToLive", TableName=name))["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    backups = (await dynamodb("DescribeContinuousBackups", TableName=name))["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


async def test_making_a_table_twice_is_making_it_once(dynamodb: Call, name: str) -> None:
    """`streamkit init` may run in every deployment."""
    await create(dynamodb, name, clock=SystemClock(), protected=False)
    assert await create(dynamodb, name, clock=SystemClock()) == ()


async def test_a_missing_table_says_how_to_make_it(dynamodb: Call, name: str) -> None:
    """One line, one command."""
    with pytest.raises(Missing, match=f"{name}.*run `streamkit init MODULE:CONSUMER`"):
        await check(dynamodb, name)


async def test_a_table_of_another_shape_is_refused(dynamodb: Call, name: str) -> None:
    """It says what was expected and what was found, and changes nothing."""
    await dynamodb(
        "CreateTable",
        TableName=name,
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    complaint = "expected the keys pk HASH S, sk RANGE S, got leaseKey HASH S"
    with pytest.raises(ConfigurationError, match=complaint):
        await check(dynamodb, name)
    with pytest.raises(ConfigurationError, match=complaint):
        await create(dynamodb, name, clock=SystemClock())


class SlowTable:
    """A table that takes a while to be made, at an endpoint without expiry or backups."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.made = False

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Answer as DynamoDB would."""
        if operation == "CreateTable":
            self.made = True
            return {}
        if operation != "DescribeTable":
            raise Rejected(f"{operation}: unknown operation")
        if not self.made:
            raise Missing("no such table")
        self.looks -= 1
        return {
            "Table": {
                "TableStatus": "ACTIVE" if self.looks < 0 else "CREATING",
                "KeySchema": [
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "AttributeDefinitions": [
                    {"AttributeName": "pk", "AttributeType": "S"},
                    {"AttributeName": "sk", "AttributeType": "S"},
                ],
            }
        }


def test_making_waits_until_the_table_is_ready_and_notes_what_is_not_offered() -> None:
    """An emulator without backups is no reason to fail."""
    notes = run_virtual(lambda: create(SlowTable(20), "table", clock=VirtualClock()))
    assert [note.partition(":")[0] for note in notes] == [
        "ledger rows do not expire here",
        "no point-in-time recovery here",
    ]


class BackupsToCome(SlowTable):
    """A new table of AWS's: recovery can be switched on a little later."""

    def __init__(self, refusals: int) -> None:
        super().__init__(0)
        self.refusals = refusals

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Put it off."""
        if operation != "UpdateContinuousBackups":
            return await super().__call__(operation, **parameters)
        self.refusals -= 1
        if self.refusals >= 0:
            raise Busy("backups are being enabled")
        return {}


@pytest.mark.parametrize(("refusals", "noted"), [(3, []), (1000, ["point-in-time recovery is not on yet"])])
def test_recovery_is_switched_on_as_soon_as_it_can_be(refusals: int, noted: list[str]) -> None:
    """An unprotected table is not left behind in silence."""
    table = BackupsToCome(refusals)
    _, *notes = run_virtual(lambda: create(table, "table", clock=VirtualClock()))
    assert [note.partition(":")[0] for note in notes] == noted


def test_making_does_not_wait_for_ever() -> None:
    """Two minutes, then it says what it waits for."""
    with pytest.raises(Unanswered, match="expected table table ready within 0:02:00, got status CREATING"):
        run_virtual(lambda: create(SlowTable(100_000), "table", clock=VirtualClock()))


def test_a_table_that_is_not_ready_is_no_place_to_start() -> None:
    """A worker says so instead of failing at its first write."""
    table = SlowTable(5)
    table.made = True
    with pytest.raises(ConfigurationError, match="got status CREATING"):
        run_virtual(lambda: check(table, "table"))
