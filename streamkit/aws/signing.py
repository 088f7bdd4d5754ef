"""Signature Version 4 of a POST without a query, learned from a request that the SDK signed.

Only what the SDK's own signature confirms is used: `learn` computes the signature of that very request anew, and
returns nothing unless it is the same to the last digit
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_DATE, _TOKEN = "x-amz-date", "x-amz-security-token"
_OF_ONE_CALL = ("amz-sdk-", "x-amzn-trace-id")
"""How headers begin that tell one call from another, or its tries: no other call carries them on."""


class Credentials(Protocol):
    """What the SDK calls frozen credentials."""

    @property
    def access_key(self) -> str:
        """Names the key."""
        ...

    @property
    def secret_key(self) -> str:
        """The key."""
        ...

    @property
    def token(self) -> str | None:
        """Of temporary credentials."""
        ...


class Signer(msgspec.Struct):
    """Signs the same headers over other bodies, dates and credentials."""

    path: str
    region: str
    service: str
    headers: Mapping[str, str]
    """What is signed besides date and token, by name in lower case."""
    _cached: tuple[tuple[str, str], bytes] = (("", ""), b"")
    """The signing key of one secret and day."""

    @classmethod
    def learn(cls, path: str, headers: Mapping[str, str], body: bytes, credentials: Credentials) -> Self | None:
        """Return a signer of requests like this one; None if this is not how the SDK signed it."""
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        moment = headers.get(_DATE, "")
        if found is None or found["key"] != credentials.access_key or moment[:8] != found["day"]:
            return None
        signed = found["signed"].split(";")
        if not {"host", _DATE} <= set(signed) <= headers.keys() or (_TOKEN in signed) != bool(credentials.token):
            return None
        whole = cls(path, found["region"], found["service"], _of(signed, headers, apart=()))
        if not hmac.compare_digest(whole.signature(body, moment, credentials), found["signature"]):
            return None
        return cls(path, whole.region, whole.service, _of(signed, headers, apart=_OF_ONE_CALL))

    def sign(self, body: bytes, at: datetime, credentials: Credentials) -> dict[str, str]:
        """Return the headers that a request at this moment (UTC) carries besides `headers`."""
        moment = at.strftime("%Y%m%dT%H%M%SZ")
        names = ";".join(sorted([*self.headers, _DATE, *([_TOKEN] if credentials.token else ())]))
        found = {
            "authorization": (
                f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{self._scope(moment)}, "
                f"SignedHeaders={names}, Signature={self.signature(body, moment, credentials)}"
            ),
            _DATE: moment,
        }
        return {**found, _TOKEN: credentials.token} if credentials.token else found

    def signature(self, body: bytes, moment: str, credentials: Credentials) -> str:
        """Return the signature, in hexadecimal digits."""
        signed = {**self.headers, _DATE: moment}
        if credentials.token:
            signed[_TOKEN] = credentials.token
        names = sorted(signed)
        lines = "\n".join([f"{name}:{signed[name]}" for name in names])
        request = f"POST\n{self.path}\n\n{lines}\n\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
        digest = hashlib.sha256(request.encode()).hexdigest()
        return _hmac(
            self._key(moment[:8], credentials.secret_key),
            f"AWS4-HMAC-SHA256\n{moment}\n{self._scope(moment)}\n{digest}",
        ).hex()

    def _scope(self, moment: str) -> str:
        return f"{moment[:8]}/{self.region}/{self.service}/aws4_request"

    def _key(self, day: str, secret: str) -> bytes:
        if self._cached[0] != (day, secret):
            key = f"AWS4{secret}".encode()
            for part in (day, self.region, self.service, "aws4_request"):
                key = _hmac(key, part)
            self._cached = ((day, secret), key)
        return self._cached[1]


def _of(signed: Iterable[str], headers: Mapping[str, str], *, apart: tuple[str, ...]) -> dict[str, str]:
    """Return the headers that are signed alike in every request."""
    return {
        name: " ".join(headers[name].split())
        for name in signed
        if name not in {_DATE, _TOKEN} and not name.startswith(apart)
    }


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
