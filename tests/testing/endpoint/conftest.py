"""The endpoint as its users start it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import pytest

from tests.nursery import Nursery

Client = Any  # boto3 has no types


@pytest.fixture(scope="module")
def environment(nursery: Nursery) -> Iterator[Mapping[str, str]]:
    """The variables of an endpoint in a process of its own."""
    with nursery.endpoint() as exports:
        yield exports


@pytest.fixture
def client(environment: Mapping[str, str]) -> Iterator[Callable[..., Client]]:
    """Make a boto3 client of a service; closed at the end of the test."""
    made = []

    def make(service: str, region: str = "us-east-1") -> Client:
        session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name=region)
        made.append(session.client(service, endpoint_url=environment["AWS_ENDPOINT_URL"]))
        return made[-1]

    yield make
    for one in made:
        one.close()
