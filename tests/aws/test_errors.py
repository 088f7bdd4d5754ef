"""What the SDK's exceptions mean: whether it may have happened, and what to do."""

import re
import socket
import ssl
from typing import Any

import pytest
from aiohttp import ClientConnectorError, ClientOSError
from aiohttp.client_reqrep import ConnectionKey
from botocore import exceptions as sdk
from botocore.exceptions import ClientError

from streamkit.aws.errors import (
    Busy,
    ConditionFailed,
    Reason,
    Rejected,
    Request,
    TransactionCancelled,
    Unaccredited,
    Unreachable,
    meaning,
)
from streamkit.errors import ConfigurationError, Denied, Expired, Missing, Throttled, Unanswered, WorldError

REQUEST = Request.of("kinesis", "GetRecords", {"StreamName": "flights", "ShardIterator": "secret"})
URL = "https://kinesis.us-east-1.amazonaws.com"
KEY = ConnectionKey("127.0.0.1", 1, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)


def answered(code: str, status: int = 400, message: str = "so it is", **more: Any) -> ClientError:
    """An error as a service answers it."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(response, "GetRecords")


ANSWERS: list[tuple[str, int, type[WorldError], str]] = [
    ("ProvisionedThroughputExceededException", 400, Throttled, "nothing happened, ask again later"),
    ("ThrottlingException", 400, Throttled, "nothing happened"),
    ("LimitExceededException", 400, Throttled, "nothing happened"),
    ("SomethingNew", 429, Throttled, "nothing happened"),
    ("ResourceInUseException", 400, Busy, "nothing happened"),
    ("TransactionConflictException", 400, Busy, "nothing happened"),
    ("AccessDeniedException", 400, Denied, "allow kinesis:GetRecords to the credentials in force"),
    ("UnrecognizedClientException", 400, Unaccredited, "credentials in force are not accepted"),
    ("ExpiredTokenException", 400, Unaccredited, "renew them"),
    ("ResourceNotFoundException", 400, Missing, "create the stream, or correct its name, the region"),
    ("ExpiredIteratorException", 400, Expired, "names something too old"),
    ("InternalFailure", 500, Unanswered, "it may or may not have happened"),
    ("ServiceUnavailable", 503, Unanswered, "it may or may not have happened"),
    ("SomethingNew", 502, Unanswered, "it may or may not have happened"),
    ("RequestTimeout", 400, Unanswered, "it may or may not have happened"),
    ("InvalidArgumentException", 400, Rejected, "not accepted (InvalidArgumentException): so it is"),
    ("SomethingNew", 418, Rejected, "not accepted (SomethingNew): so it is"),
    ("", 500, Unanswered, "(500)"),
]


@pytest.mark.parametrize(("code", "status", "kind", "says"), ANSWERS)
def test_answers_sort_by_what_the_caller_may_do_next(code: str, status: int, kind: type[WorldError], says: str) -> None:
    """One line that names operation and resource, and nothing of iterators or keys."""
    error = meaning(answered(code, status), REQUEST)
    assert type(error) is kind
    assert str(error).startswith("kinesis:GetRecords on flights")
    assert says in str(error)
    assert "secret" not in str(error)
    assert "\n" not in str(error)


def test_codes_with_a_name_space_are_known() -> None:
    """Some services and emulators send `com.amazonaws...#Code`."""
    error = meaning(answered("com.amazonaws.kinesis#ExpiredIteratorException"), REQUEST)
    assert type(error) is Expired


def test_long_messages_of_a_service_become_one_short_line() -> None:
    """Whatever a service says, the error stays readable."""
    error = meaning(answered("ValidationException", message="many\n\n words " * 1000), REQUEST)
    assert "\n" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("dynamodb", "TransactWriteItems", "dynamodb:UpdateItem"),
        ("sqs", "SendMessageBatch", "sqs:SendMessage"),
        ("dynamodb", "Query", "dynamodb:Query"),
    ],
)
def test_denials_name_the_action_to_allow(service: str, operation: str, action: str) -> None:
    """As IAM names it, which is not always the operation's name."""
    error = meaning(answered("AccessDeniedException"), Request.of(service, operation, {"TableName": "t"}))
    assert f"allow {action} to" in str(error)


def test_a_failed_condition_carries_the_item() -> None:
    """As it stood, or None where there was none."""
    item = {"pk": {"S": "x"}}
    failed = meaning(answered("ConditionalCheckFailedException", Item=item), REQUEST)
    assert isinstance(failed, ConditionFailed)
    assert failed.item == item
    empty = meaning(answered("ConditionalCheckFailedException"), REQUEST)
    assert isinstance(empty, ConditionFailed)
    assert empty.item is None


def test_a_cancelled_transaction_carries_its_reasons() -> None:
    """In the order of its items."""
    reasons = [{"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "x"}}}, {"Code": "None"}]
    error = meaning(answered("TransactionCanceledException", CancellationReasons=reasons), REQUEST)
    assert isinstance(error, TransactionCancelled)
    assert error.reasons == (Reason("ConditionalCheckFailed", {"pk": {"S": "x"}}), Reason("None"))


REFUSED = ClientConnectorError(KEY, ConnectionRefusedError(111, "refused"))
TRANSPORT: list[tuple[Exception, type[WorldError]]] = [
    # never sent
    (sdk.ConnectTimeoutError(endpoint_url=URL), Unreachable),
    (sdk.EndpointConnectionError(endpoint_url=URL, error=REFUSED), Unreachable),
    (sdk.EndpointConnectionError(endpoint_url=URL, error=socket.gaierror(-2, "unknown")), Unreachable),
    (sdk.EndpointConnectionError(endpoint_url=URL), Unreachable),
    (sdk.ProxyConnectionError(proxy_url=URL), Unreachable),
    (sdk.SSLError(endpoint_url=URL, error=ssl.SSLError("untrusted")), Unreachable),
    # sent, for all we know
    (sdk.EndpointConnectionError(endpoint_url=URL, error=ClientOSError(104, "reset")), Unanswered),
    (sdk.ReadTimeoutError(endpoint_url=URL), Unanswered),
    (sdk.ConnectionClosedError(endpoint_url=URL), Unanswered),
    (sdk.HTTPClientError(error=OSError("odd")), Unanswered),
    (TimeoutError(), Unanswered),
]


@pytest.mark.parametrize(("error", "kind"), TRANSPORT)
def test_only_what_never_left_certainly_did_not_happen(error: Exception, kind: type[WorldError]) -> None:
    """A connection that was reset after sending is in doubt, though the SDK names it like one never made."""
    found = meaning(error, REQUEST)
    assert type(found) is kind
    assert isinstance(found, Throttled) == (kind is Unreachable)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (sdk.NoCredentialsError(), Unaccredited, "set AWS_PROFILE, or attach a role"),
        (sdk.PartialCredentialsError(provider="env", cred_var="x"), Unaccredited, "no usable credentials"),
        (sdk.NoRegionError(), ConfigurationError, "correct the AWS settings in force"),
        (sdk.ProfileNotFound(profile="x"), ConfigurationError, "correct the AWS settings"),
        (ValueError("Invalid endpoint: nowhere"), ConfigurationError, "Invalid endpoint: nowhere"),
        (sdk.ParamValidationError(report="Invalid length\nfor name"), Rejected, "Invalid length for name"),
    ],
)
def test_wrong_settings_are_configuration_errors(error: Exception, kind: type[Exception], says: str) -> None:
    """They are for whoever deployed the consumer; exit status 2."""
    found = meaning(error, REQUEST)
    assert isinstance(found, ConfigurationError)
    assert type(found) is kind
    assert re.search(says, str(found))
