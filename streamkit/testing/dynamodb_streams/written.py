"""One write to one item, and the change that the service makes of it."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from streamkit.testing.dynamodb_streams.values import Json

View = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]

_REAPER: Final = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class Written(NamedTuple):
    """One write to one item, in DynamoDB's own JSON."""

    keys: Json
    old: Json | None
    new: Json | None
    expired: bool = False

    @property
    def event(self) -> str:
        """What it was."""
        if self.old is None:
            return "INSERT"
        return "REMOVE" if self.new is None else "MODIFY"

    def json(self, *, number: int, changed: float, view: View, event_id: str, region: str) -> bytes:
        """Return the change as the service writes it."""
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": int(changed),
            "Keys": self.keys,
            "SequenceNumber": str(number),
            "StreamViewType": view,
        }
        if view in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES") and self.new is not None:
            body["NewImage"] = self.new
        if view in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES") and self.old is not None:
            body["OldImage"] = self.old
        body["SizeBytes"] = len(msgspec.json.encode(body))
        change = {
            "eventID": event_id,
            "eventName": self.event,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": region,
            "dynamodb": body,
        }
        return msgspec.json.encode(change | ({"userIdentity": _REAPER} if self.expired else {}))
