"""Which endpoint is in force, and whether it is this machine."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_OWN = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".aws.dev")
"""How the names of AWS's own hosts end."""

_NAMES = {"dynamodbstreams": "DYNAMODB_STREAMS"}
"""Services whose variable is not simply their name."""


def is_loopback(url: str) -> bool:
    """Say whether the host of a URL is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_overridden(service: str, url: str, environment: Mapping[str, str]) -> bool:
    """Say whether a setting sends the requests for `service` elsewhere than AWS would by itself."""
    host = urlsplit(url).hostname or ""
    if not host.endswith(_OWN):
        return True
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return False
    return any(
        environment.get(name)
        for name in ("AWS_ENDPOINT_URL", f"AWS_ENDPOINT_URL_{_NAMES.get(service, service.upper())}")
    )
