"""DynamoDB Streams in memory: tables whose writes make changes, in shards that roll, split and are trimmed.

`ChangeStreams` is the service, `ChangingTable` a table to write to, `service.calls` the way the real adapter asks it.
It follows https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html and the API reference.
"""

from streamkit.testing.dynamodb_streams.errors import StreamsError
from streamkit.testing.dynamodb_streams.streams import ChangeStreams
from streamkit.testing.dynamodb_streams.table import ChangingTable
from streamkit.testing.dynamodb_streams.written import Written

__all__ = ["ChangeStreams", "ChangingTable", "StreamsError", "Written"]
