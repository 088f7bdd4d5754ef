"""TransactWriteItems: all or nothing, at a cost of its own size, and nobody else's writes are touched."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamkit.clock import SystemClock

Client = Any  # boto3 has no types
HASH: Any = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
RANGE = {
    "KeySchema": [*HASH["KeySchema"], {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [*HASH["AttributeDefinitions"], {"AttributeName": "sk", "AttributeType": "N"}],
    "BillingMode": "PAY_PER_REQUEST",
}


def key(name: str) -> dict[str, Any]:
    """Return a key of a table with a hash key alone."""
    return {"pk": {"S": name}}


def put(table: str, name: str, **rest: object) -> dict[str, Any]:
    """Put an item."""
    return {"Put": {"TableName": table, "Item": key(name), **rest}}


def check(table: str, name: str, condition: str, **rest: object) -> dict[str, Any]:
    """Check a condition."""
    return {"ConditionCheck": {"TableName": table, "Key": key(name), "ConditionExpression": condition, **rest}}


def names(dynamodb: Client, table: str) -> set[str]:
    """Return the keys of all items of a table."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return {item["pk"]["S"] for page in pages for item in page["Items"]}


def cancelled(dynamodb: Client, *operations: object) -> list[dict[str, Any]]:
    """Return the reasons why the transaction was cancelled."""
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as refused:
        dynamodb.transact_write_items(TransactItems=list(operations))
    reasons: list[dict[str, Any]] = refused.value.response["CancellationReasons"]
    return reasons


@pytest.fixture
def dynamodb(client: Callable[..., Client]) -> Iterator[Client]:
    """Yield a client, with tables `hash` and `range` made anew."""
    made = client("dynamodb")
    for name, shape in (("hash", HASH), ("range", RANGE)):
        made.create_table(
            TableName=name,
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            **shape,
        )
    yield made
    for name in ("hash", "range"):
        made.delete_table(TableName=name)


def test_all_kinds_of_operations_are_applied_together(dynamodb: Client) -> None:
    """Put, Update, Delete and ConditionCheck, over two tables."""
    for name in ("updated", "deleted", "checked"):
        dynamodb.put_item(TableName="hash", Item={**key(name), "n": {"N": "1"}})
    one = {":one": {"N": "1"}}
    ranged = {**key("a"), "sk": {"N": "7"}}
    dynamodb.transact_write_items(
        TransactItems=[
            put("hash", "new", ConditionExpression="attribute_not_exists(pk)"),
            {
                "Update": {
                    "TableName": "hash",
                    "Key": key("updated"),
                    "UpdateExpression": "SET n = n + :one",
                    "ConditionExpression": "n = :one",
                    "ExpressionAttributeValues": one,
                }
            },
            {"Delete": {"TableName": "hash", "Key": key("deleted"), "ConditionExpression": "attribute_exists(pk)"}},
            check("hash", "checked", "n = :one", ExpressionAttributeValues=one),
            {"Update": {"TableName": "range", "Key": ranged, "UpdateExpression": "SET #v = :one",
                        "ExpressionAttributeNames": {"#v": "value"}, "ExpressionAttributeValues": one}},
        ]
    )  # fmt: skip
    assert names(dynamodb, "hash") == {"new", "updated", "checked"}
    assert dynamodb.get_item(TableName="hash", Key=key("updated"))["Item"]["n"] == {"N": "2"}
    assert dynamodb.get_item(TableName="range", Key=ranged)["Item"] == {**ranged, "value": {"N": "1"}}


def test_a_condition_that_fails_cancels_all_and_says_which_and_why(dynamodb: Client) -> None:
    """One reason an operation, in their order; with the item as it is where that was asked for."""
    item = {**key("there"), "n": {"N": "1"}}
    dynamodb.put_item(TableName="hash", Item=item)
    reasons = cancelled(
        dynamodb,
        put("hash", "new"),
        put("hash", "there", ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD"),
        check("hash", "absent", "attribute_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
        {"Delete": {"TableName": "hash", "Key": key("other"), "ConditionExpression": "attribute_exists(pk)"}},
    )  # fmt: skip
    assert [reason["Code"] for reason in reasons] == ["None", *["ConditionalCheckFailed"] * 3]
    assert [reason.get("Item") for reason in reasons] == [None, item, None, None]
    assert names(dynamodb, "hash") == {"there"}


def test_a_write_that_cannot_be_applied_undoes_those_before_it(dynamodb: Client) -> None:
    """A wrong type shows only when it is applied: items and stream are then as before."""
    dynamodb.put_item(TableName="hash", Item={**key("text"), "n": {"S": "no number"}})
    dynamodb.put_item(TableName="hash", Item={**key("old"), "n": {"N": "1"}})
    one = {":one": {"N": "1"}}
    reasons = cancelled(
        dynamodb,
        put("hash", "new"),
        {"Update": {"TableName": "hash", "Key": key("old"), "UpdateExpression": "SET n = :two",
                    "ExpressionAttributeValues": {":two": {"N": "2"}}}},
        {"Update": {"TableName": "range", "Key": {**key("r"), "sk": {"N": "1"}}, "UpdateExpression": "SET n = :one",
                    "ExpressionAttributeValues": one}},
        {"Update": {"TableName": "hash", "Key": key("text"), "UpdateExpression": "SET n = n + :one",
                    "ExpressionAttributeValues": one}},
    )  # fmt: skip
    assert [reason["Code"] for reason in reasons] == ["None", "None", "None", "ValidationError"]
    assert names(dynamodb, "hash") == {"text", "old"}
    assert names(dynamodb, "range") == set()
    assert dynamodb.get_item(TableName="hash", Key=key("old"))["Item"]["n"] == {"N": "1"}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ([put("hash", "a"), check("hash", "a", "attribute_exists(pk)")], "ValidationException"),
        ([put("none", "a")], "ResourceNotFoundException"),
        ([put("range", "a")], "ValidationException"),
        ([put("hash", str(n)) for n in range(101)], "ValidationException"),
    ],
)
def test_a_transaction_that_cannot_be_is_refused(
    client: Callable[..., Any], dynamodb: Client, operations: list[Any], code: str
) -> None:
    """As a whole, without reasons."""
    with pytest.raises(ClientError) as refused:
        dynamodb.transact_write_items(TransactItems=operations)
    assert refused.value.response["Error"]["Code"] == code
    assert names(dynamodb, "hash") == set()


def test_a_token_makes_a_transaction_happen_once(dynamodb: Client) -> None:
    """Again with the same token: the same answer, no effect. With other parameters: refused."""
    add = {"Update": {"TableName": "hash", "Key": key("n"), "UpdateExpression": "ADD n :one",
                      "ExpressionAttributeValues": {":one": {"N": "1"}}}}  # fmt: skip
    for _ in range(3):
        dynamodb.transact_write_items(TransactItems=[add], ClientRequestToken="once")
    assert dynamodb.get_item(TableName="hash", Key=key("n"))["Item"]["n"] == {"N": "1"}
    dynamodb.transact_write_items(TransactItems=[add], ClientRequestToken="twice")
    assert dynamodb.get_item(TableName="hash", Key=key("n"))["Item"]["n"] == {"N": "2"}
    with pytest.raises(dynamodb.exceptions.IdempotentParameterMismatchException):
        dynamodb.transact_write_items(TransactItems=[add, put("hash", "b")], ClientRequestToken="once")


def test_a_cancelled_transaction_may_be_tried_again_with_its_token(dynamodb: Client) -> None:
    """Only what took effect is remembered."""
    operation = check("hash", "a", "attribute_exists(pk)")
    for _ in range(2):
        with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
            dynamodb.transact_write_items(TransactItems=[operation], ClientRequestToken="again")
    dynamodb.put_item(TableName="hash", Item=key("a"))
    dynamodb.transact_write_items(TransactItems=[operation], ClientRequestToken="again")


def test_writers_beside_failing_transactions_lose_nothing(client: Callable[..., Any], dynamodb: Client) -> None:
    """By itself, moto puts its copy of the table back, and with it everything others wrote meanwhile."""
    clients = [client("dynamodb") for _ in range(6)]

    def write(worker: int) -> set[str]:
        mine = {f"{worker}:{n}" for n in range(40)}
        for name in mine:
            clients[worker].put_item(TableName="hash", Item=key(name))
        return mine

    def fail(worker: int) -> set[str]:
        for n in range(40):
            cancelled(clients[worker], put("hash", f"no:{n}"), check("hash", "absent", "attribute_exists(pk)"))
        return set()

    with ThreadPoolExecutor(len(clients)) as pool:
        written = set[str]().union(*pool.map(lambda n: (write, fail)[n % 2](n), range(len(clients))))
    assert len(written) == 120
    assert names(dynamodb, "hash") == written


def test_the_cost_of_a_transaction_does_not_grow_with_the_table(dynamodb: Client) -> None:
    """The best of several, beside 3,000 rows and beside none; by itself, moto takes fifty milliseconds more."""
    clock = SystemClock()

    def best_seconds() -> float:
        taken = []
        for n in range(15):
            started = clock.monotonic()
            dynamodb.transact_write_items(TransactItems=[put("hash", f"t:{n}")])
            taken.append(clock.monotonic() - started)
        return min(taken)

    empty = best_seconds()
    rows = [{"PutRequest": {"Item": {**key(str(n)), "text": {"S": "x" * 100}}}} for n in range(3000)]
    for start in range(0, len(rows), 25):
        dynamodb.batch_write_item(RequestItems={"hash": rows[start : start + 25]})
    assert best_seconds() < empty + 0.015
