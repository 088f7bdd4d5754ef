"""What the SDK's exceptions mean to the caller.

For a write the one question is whether it may have happened. Refused before anything changed, or never sent:
`Throttled` and its kin, nothing happened. Sent and not answered, or answered by a fault of the server:
`Unanswered`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamkit.errors import (
    ConfigurationError,
    Denied,
    Expired,
    Missing,
    StreamkitError,
    Throttled,
    Unanswered,
    WorldError,
)

SERVER_FAULT = 500
TOO_MANY_REQUESTS = 429


class Unreachable(Throttled):
    """No connection came about, so the request was never sent: nothing happened, ask again later."""


class Unaccredited(Denied):
    """No credentials, or none that the service accepts: no other request fares better until they are renewed."""


class Busy(Throttled):
    """Another change of the same thing is under way: nothing happened, ask again later."""


class Rejected(WorldError, ConfigurationError):
    """The service does not accept the request as it is: nothing happened, and asking again does not help."""


class Trimmed(Expired):
    """The place that was asked for has been dropped by the service: ask for the oldest there is."""


class ConditionFailed(WorldError):
    """A conditional write did not hold: nothing happened.

    `item` is the item as it stood, or None if there was none.
    """

    def __init__(self, item: dict[str, Any] | None = None) -> None:
        super().__init__("the condition of the write does not hold")
        self.item = item


class Reason(msgspec.Struct, frozen=True):
    """What one item had to do with the end of its transaction."""

    code: str
    """As DynamoDB says: None, ConditionalCheckFailed, TransactionConflict, ThrottlingError ..."""
    item: dict[str, Any] | None = None


class TransactionCancelled(WorldError):
    """Nothing of a transaction happened. `reasons` are in the order of its items."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        super().__init__(f"the transaction was cancelled: {', '.join(reason.code for reason in reasons)}")
        self.reasons = reasons


_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

_MEANINGS: dict[str, type[WorldError]] = {
    **dict.fromkeys(
        (
            "KMSThrottlingException",
            "LimitExceededException",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ),
        Throttled,
    ),
    **dict.fromkeys(
        (
            "ContinuousBackupsUnavailableException",
            "ResourceInUseException",
            "TableInUseException",
            "TransactionConflictException",
        ),
        Busy,
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "KMSAccessDeniedException",
            "403",  # of a request without a body in the answer: S3's HEAD
            "NotAuthorized",
            "OptInRequired",
            "UnauthorizedOperation",
        ),
        Denied,
    ),
    **dict.fromkeys(_CREDENTIALS, Unaccredited),
    **dict.fromkeys(
        (
            "404",
            "AWS.SimpleQueueService.NonExistentQueue",
            "NoSuchBucket",
            "NoSuchKey",
            "QueueDoesNotExist",
            "ResourceNotFoundException",
            "TableNotFoundException",
        ),
        Missing,
    ),
    **dict.fromkeys(("ExpiredIteratorException", "ExpiredNextTokenException"), Expired),
    "TrimmedDataAccessException": Trimmed,
    # Sent again with a token whose first attempt still runs: what that one does is open.
    **dict.fromkeys(("TransactionInProgressException", "RequestTimeout", "RequestTimeoutException"), Unanswered),
}

_ACTIONS = {"HeadBucket": "ListBucket", "TransactWriteItems": "UpdateItem", "SendMessageBatch": "SendMessage"}
"""The IAM action behind an operation, where it has another name."""


class Request(msgspec.Struct, frozen=True):
    """What was asked, for people: no values of records or keys."""

    service: str
    operation: str
    resource: str

    @classmethod
    def of(cls, service: str, operation: str, parameters: Mapping[str, object]) -> Request:
        """Name the request by the resource among its parameters."""
        named = ("StreamName", "StreamARN", "TableName", "StreamArn", "QueueName", "QueueUrl", "RoleArn", "Bucket")
        resource = next((str(parameters[name]) for name in named if name in parameters), "")
        return cls(service, operation, resource)

    @property
    def action(self) -> str:
        """The IAM action a caller needs for it."""
        service = "dynamodb" if self.service == "dynamodbstreams" else self.service
        return f"{service}:{_ACTIONS.get(self.operation, self.operation)}"

    def __str__(self) -> str:
        return f"{self.service}:{self.operation}" + (f" on {self.resource}" if self.resource else "")


def meaning(error: Exception, request: Request) -> StreamkitError:
    """Return the error to raise in place of the SDK's."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _answered(error.response, request)
    known = _unsent(error, request) or _configured(error, request)
    return known or Unanswered(_sentence(Unanswered, request, type(error).__name__, ""))


def _answered(response: Mapping[str, Any], request: Request) -> StreamkitError:
    """Return the meaning of an answer that is an error."""
    details = response.get("Error", {})
    code = str(details.get("Code", "")).rpartition("#")[2]
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(response.get("Item") or None)
    if code == "TransactionCanceledException":
        return TransactionCancelled(tuple(_reason(each) for each in response.get("CancellationReasons", ())))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", SERVER_FAULT))
    kind = _MEANINGS.get(code) or _by_status(status)
    return kind(_sentence(kind, request, code or str(status), str(details.get("Message", ""))))


def _reason(each: Mapping[str, Any]) -> Reason:
    """Read one cancellation reason."""
    return Reason(str(each.get("Code") or "None"), each.get("Item") or None)


def _by_status(status: int) -> type[WorldError]:
    """Return the meaning of an error code nobody here knows."""
    if status >= SERVER_FAULT:
        return Unanswered
    return Throttled if status == TOO_MANY_REQUESTS else Rejected


def _sentence(kind: type[WorldError], request: Request, code: str, said: str) -> str:
    """Say in one line what was asked, what came of it, and what to do."""
    said = " ".join(said.split())[:300]
    if code in _CREDENTIALS:
        return f"{request}: the credentials in force are not accepted ({code}): renew them ({said})"
    sentences: dict[type[WorldError], str] = {
        Denied: f"is not allowed ({code}): allow {request.action} to the credentials in force ({said})",
        Missing: f"found nothing of that name in this account and region; {_remedy(request)}",
        Unanswered: f"got no answer that settles it ({code}); it may or may not have happened",
        Rejected: f"is not accepted ({code}): {said}",
        Expired: f"names something too old ({code})",
        Trimmed: f"names what the stream no longer has ({code})",
    }
    return f"{request} {sentences.get(kind, f'was refused for now ({code}); nothing happened, ask again later')}"


def _remedy(request: Request) -> str:
    """Say what makes a missing resource appear."""
    if request.service == "dynamodb":
        return "create it: run `streamkit init MODULE:CONSUMER`"
    kind = {"kinesis": "stream", "dynamodbstreams": "stream", "sqs": "queue", "s3": "bucket"}.get(
        request.service, "resource"
    )
    return f"create the {kind}, or correct its name, the region or the endpoint"


def _unsent(error: Exception, request: Request) -> Unreachable | None:
    """Return a meaning if the request certainly never left."""
    from botocore import exceptions as sdk

    if isinstance(error, sdk.SSLError):
        return Unreachable(f"{request}: no trusted TLS connection; name its certificate in AWS_CA_BUNDLE ({error})")
    never_sent = isinstance(error, (sdk.ConnectTimeoutError, sdk.ProxyConnectionError)) or (
        isinstance(error, sdk.EndpointConnectionError) and _is_connect_error(error.kwargs.get("error"))
    )
    if not never_sent:
        return None
    return Unreachable(f"{request}: no connection ({error}); check AWS_ENDPOINT_URL, region and network")


_UNCONNECTED = frozenset({"ClientConnectorError", "NewConnectionError", "NameResolutionError"})
"""What aiohttp and urllib3 call a connection that never came about; neither is loaded to find out."""


def _is_connect_error(cause: object) -> bool:
    """Say whether the cause came before anything was sent; aiobotocore names a reset connection the same."""
    import socket

    named = {kind.__name__ for kind in type(cause).__mro__}
    return cause is None or isinstance(cause, socket.gaierror) or not named.isdisjoint(_UNCONNECTED)


def _configured(error: Exception, request: Request) -> StreamkitError | None:
    """Return a meaning if it is the settings of the SDK that have to change."""
    from botocore import exceptions as sdk

    credentials = (
        sdk.CredentialRetrievalError,
        sdk.NoAuthTokenError,
        sdk.NoCredentialsError,
        sdk.PartialCredentialsError,
        sdk.SSOError,
        sdk.TokenRetrievalError,
    )
    if isinstance(error, credentials):
        return Unaccredited(f"{request}: no usable credentials: set AWS_PROFILE, or attach a role ({error})")
    if isinstance(error, (sdk.ParamValidationError, sdk.ValidationError)):
        return Rejected(f"{request} is not accepted: {' '.join(str(error).split())[:300]}")
    settings = (
        sdk.BaseEndpointResolverError,
        sdk.ConfigNotFound,
        sdk.ConfigParseError,
        sdk.EndpointProviderError,
        sdk.InvalidConfigError,
        sdk.InvalidEndpointConfigurationError,
        sdk.InvalidRetryConfigurationError,
        sdk.ProfileNotFound,
        ValueError,
    )
    if isinstance(error, settings):
        return ConfigurationError(f"{request}: {' '.join(str(error).split())[:300]}: correct the AWS settings in force")
    return None
