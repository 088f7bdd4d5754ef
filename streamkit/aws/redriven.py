"""Memory of redriven records in the checkpoint table: `Redriven` (rule 30)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.aws.attributes import VERSION, Attributes
from streamkit.aws.errors import ConditionFailed
from streamkit.aws.rows import redriven_key

if TYPE_CHECKING:
    from typing import Any

    from streamkit.aws.call import Call
    from streamkit.ports import Clock, Standing

KEEP = timedelta(days=15)
"""Longer than SQS keeps a letter, so that none outlives the memory of it."""


class TableRedriven:
    """One row a record: whose run has it until when, or that it is done. DynamoDB forgets it by itself."""

    def __init__(self, call: Call, table: str, *, clock: Clock) -> None:
        self._call = call
        self._table = table
        self._clock = clock

    async def begin(self, record_id: str, *, run: str, within: float) -> Standing:
        """Say how the record stands. One request, which may be sent again when its answer is lost."""
        now = self._clock.now().timestamp()
        mine = "#state = :running AND (#run = :run OR #until < :now)"
        try:
            await self._call(
                "PutItem",
                TableName=self._table,
                Item=self._item(record_id, "running", run, until=now + within),
                ConditionExpression=f"attribute_not_exists(pk) OR ({mine})",
                ExpressionAttributeNames={"#state": "state", "#run": "run", "#until": "until"},
                ExpressionAttributeValues={
                    ":running": {"S": "running"},
                    ":run": {"S": run},
                    ":now": {"N": repr(now)},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionFailed as refused:
            done = refused.item is not None and Attributes(self._table, refused.item).text("state") == "done"
            return "done" if done else "busy"
        return "mine"

    async def done(self, record_id: str, *, run: str) -> None:
        """Remember the effect: whatever else the row says, it has been."""
        item = self._item(record_id, "done", run, until=0.0)
        await self._call("PutItem", TableName=self._table, Item=item)

    async def abandon(self, record_id: str, *, run: str) -> None:
        """Let others begin it at once, if this run had it and it is not done."""
        try:
            await self._call(
                "DeleteItem",
                TableName=self._table,
                Key=redriven_key(record_id),
                ConditionExpression="#state = :running AND #run = :run",
                ExpressionAttributeNames={"#state": "state", "#run": "run"},
                ExpressionAttributeValues={":running": {"S": "running"}, ":run": {"S": run}},
            )
        except ConditionFailed:
            return

    def _item(self, record_id: str, state: str, run: str, *, until: float) -> dict[str, Any]:
        expires = int(self._clock.now().timestamp() + KEEP.total_seconds()) + 1
        return {
            **redriven_key(record_id),
            "v": {"N": str(VERSION)},
            "state": {"S": state},
            "run": {"S": run},
            "until": {"N": repr(until)},
            "expires": {"N": str(expires)},
        }
