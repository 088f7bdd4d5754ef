"""What holds in every test run: nobody's AWS account is touched, and a busy machine is not judged."""

import functools
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import botocore
import botocore.session
import pytest
from botocore.loaders import create_loader
from hypothesis import settings

from tests.nursery import Nursery

END_TO_END = Path(__file__).parent / "e2e"

# What is compiled is kept, whatever the shell says: else every worker of pytest, and every one of the hundred processes
# that tests start, compiles the package and the tests anew, a quarter of the price of all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("streamkit", max_examples=50, deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.register_profile("thorough", settings.get_profile("streamkit"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "streamkit"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one worker more than there are cores: whoever tests real processes mostly waits for them."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with real processes, then with the other files that have slow tests: nobody waits for those at the end.

    Real processes get more time than the rest: a busy machine is not judged.
    """
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.timeout(300))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (END_TO_END not in item.path.parents, item.path not in slow))


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, not at the tests: a tenth of the price of all tests."""
    gc.freeze()


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with one certificate: every client loads all it is given, and none is asked for one here."""
    end = "-----END CERTIFICATE-----\n"
    certificates = Path(botocore.__file__).with_name("cacert.pem").read_text(encoding="utf-8")
    file = tmp_path_factory.mktemp("authority") / "one.pem"
    file.write_text(certificates.partition(end)[0] + end, encoding="utf-8")
    return file


@pytest.fixture(autouse=True, scope="session")
def no_account(one_authority: Path) -> Iterator[None]:
    """Give the SDK, here and in every process a test starts, made-up credentials and nobody's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(one_authority))
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_loader() -> Iterator[None]:
    """Let the SDK read its descriptions of services once, not for every session: half the price of a test's clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(create_loader))
        yield


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Start programs for a quarter of their price."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="session")
def embedded(nursery: Nursery) -> Iterator[Mapping[str, str]]:
    """Run an embedded endpoint beside the tests; the variables that lead an AWS SDK to it."""
    with nursery.endpoint() as exports:
        yield exports
