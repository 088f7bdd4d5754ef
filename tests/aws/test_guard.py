"""The guard's expressions, as DynamoDB judges them."""

from streamkit import Guard
from streamkit.aws.call import Call
from streamkit.aws.errors import ConditionFailed
from streamkit.testing.builders import records


async def test_a_late_write_is_refused_and_a_newer_one_is_not(dynamodb: Call, table: str) -> None:
    """An update and a whole item, through a client that wants typed values."""
    old, middle, new = (Guard.of(each) for each in records(3, first=99))
    key = {"pk": {"S": "item"}, "sk": {"S": "item"}}

    async def update(guard: Guard) -> None:
        await dynamodb(
            "UpdateItem",
            TableName=table,
            Key=key,
            UpdateExpression=f"SET {guard.assignment}",
            ConditionExpression=guard.condition,
            ExpressionAttributeNames=guard.names,
            ExpressionAttributeValues=typed(guard.values),
        )

    async def put(guard: Guard) -> None:
        await dynamodb(
            "PutItem",
            TableName=table,
            Item={**key, **typed(guard.item)},
            ConditionExpression=guard.condition,
            ExpressionAttributeNames=guard.names,
            ExpressionAttributeValues=typed(guard.values),
        )

    for send in (update, put):
        await dynamodb("DeleteItem", TableName=table, Key=key)
        taken = []
        for guard in (middle, old, middle, new, new, middle):
            try:
                await send(guard)
            except ConditionFailed:
                taken.append(False)
            else:
                taken.append(True)
        assert taken == [True, False, False, True, False, False]


def typed(values: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return values as a low-level client wants them."""
    return {name: {"S": value} for name, value in values.items()}
