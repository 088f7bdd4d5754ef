"""Run a command beside LocalStack: one that runs already, or its own runtime started here without Docker.

    python localstack/host.py -- .venv/bin/pytest tests/localstack

A LocalStack named by AWS_ENDPOINT_URL, or answering on port 4566, serves everything. Otherwise LocalStack's
runtime starts on a free port, from an environment of its own, and serves Kinesis, SQS and S3; DynamoDB and
its streams come from streamkit's embedded endpoint, which serialises its calls and whose transactions copy no
tables. STREAMKIT_DYNAMODB_LOCAL_URL names a DynamoDB Local of yours to take instead.

The command finds every endpoint in the SDK's own variables, and dummy credentials. Its exit status is passed on;
the launcher's own are those of `Exit`. What was started is stopped, whatever happens.
"""

import argparse
import json
import os
import sys
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # a script's own folder stands there, where its files would pass for anybody's

from localstack.install import KINESIS_LOCAL, LIBRARIES, LOGS, PYTHON, install
from localstack.processes import (
    START_SECONDS,
    Exit,
    Server,
    Stopped,
    free_port,
    leave_on_signals,
    run,
    say,
    serving,
)

CHILD = HERE / "child.py"
RESOURCES = HERE / "init" / "ready.d" / "resources.py"
COMMAND_SECONDS = 1200


@contextmanager
def world() -> Generator[Mapping[str, str]]:
    """Give the endpoint of each service, serving for as long as the block runs."""
    tables_of_yours = os.environ.get("STREAMKIT_DYNAMODB_LOCAL_URL")
    if running := running_localstack():
        yield endpoints(running, tables_of_yours or os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or running)
        return
    install()
    with TemporaryDirectory(prefix="streamkit-localstack-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        localstack = serving(host_mode(folder), folder=folder, logs=LOGS)
        with localstack as gateway, nullcontext(tables_of_yours) if tables_of_yours else embedded() as tables:
            yield endpoints(gateway, tables)


def endpoints(localstack: str, dynamodb: str) -> Mapping[str, str]:
    """Name each endpoint as the SDK does; what is not named apart is LocalStack's."""
    services = {"": localstack, "_KINESIS": localstack, "_SQS": localstack, "_S3": localstack}
    tables = {"_DYNAMODB": dynamodb, "_DYNAMODB_STREAMS": dynamodb}
    return {f"AWS_ENDPOINT_URL{service}": url for service, url in (services | tables).items()}


def running_localstack() -> str | None:
    """Find the LocalStack that the user runs, if any.

    Raises `Stopped` when AWS_ENDPOINT_URL names something else: resources are created only where it is
    sure that this is not AWS.
    """
    named = os.environ.get("AWS_ENDPOINT_URL")
    url = (named or "http://127.0.0.1:4566").rstrip("/")
    if version := answer(f"{url}/_localstack/health").get("version"):
        say(f"using LocalStack {version} at {url}")
        return url
    if named:
        message = f"expected a running LocalStack at AWS_ENDPOINT_URL={named}, got no such answer"
        raise Stopped(message, Exit.NOT_SERVING)
    return None


def host_mode(folder: Path) -> Server:
    """Describe LocalStack's runtime on a free port, with `folder` as its file system."""
    libraries = folder / "usr" / "lib" / "localstack"
    libraries.parent.mkdir(parents=True)
    libraries.symlink_to(LIBRARIES)
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "FILESYSTEM_ROOT": str(folder),
        "OVERRIDE_IN_DOCKER": "0",  # inside a container it would write outside that root
        "GATEWAY_LISTEN": address,
        "LOCALSTACK_HOST": address,  # in queue URLs, which so need no DNS
        "SQS_ENDPOINT_STRATEGY": "path",
        "SERVICES": "kinesis,sqs,s3",
        "STRICT_SERVICE_LOADING": "1",
        "EAGER_SERVICE_LOADING": "1",
        "KINESIS_MOCK_VERSION": KINESIS_LOCAL,
        "KINESIS_PERSISTENCE": "0",
        "NODE_OPTIONS": f'--require "{HERE / "loopback.cjs"}"',
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
    }
    return Server(
        "localstack",
        # -I: else this folder would pass for LocalStack's package
        command=(str(PYTHON), "-I", "-u", str(CHILD), "localstack.runtime.main"),
        environment=settings,
        url=f"http://{address}",
        ready=lambda: answer(f"http://{address}/_localstack/init/ready").get("completed") is True,
    )


@contextmanager
def embedded() -> Generator[str]:
    """Serve DynamoDB and its streams as `streamkit local` does; gives the URL."""
    from streamkit.testing.endpoint import endpoint_process

    with ExitStack() as stack:
        try:
            variables = stack.enter_context(endpoint_process())
        except RuntimeError as error:
            raise Stopped(str(error), Exit.NOT_SERVING) from error
        url = variables["AWS_ENDPOINT_URL"]
        say(f"streamkit's embedded endpoint serves {url}, for DynamoDB and its streams")
        yield url


def answer(url: str) -> dict[str, Any]:
    """Read a JSON object; empty if nothing of the kind answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - the user's own setting
            found: Any = json.loads(response.read(100_000))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def exports(served: Mapping[str, str]) -> Mapping[str, str]:
    """Give the environment of the command, in which nothing leads to AWS."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return {**others, **settings, **served}


def create_resources(environment: Mapping[str, str]) -> None:
    """Run the init script, which is the container's as well."""
    status = run((sys.executable, str(RESOURCES)), environment, limit_seconds=START_SECONDS)
    if status:
        raise Stopped(f"expected the init script to succeed, got exit status {status}", Exit.NOT_SERVING)


def launch(command: Sequence[str], *, limit_seconds: float) -> int:
    """Run a command in the world; answers its exit status."""
    if not (find_spec("moto") and find_spec("boto3")):
        raise Stopped(f"expected streamkit[local] in {sys.executable}, got no moto there", Exit.NO_MOTO)
    with world() as served:
        environment = exports(served)
        create_resources(environment)
        status = run(command, environment, limit_seconds=limit_seconds)
    if status and LOGS.is_dir():
        say(f"{command[0]} ended with {status}; logs of the servers: {LOGS}")
    return status


def main() -> int:
    """Read the command line; answers the exit status."""
    parser = argparse.ArgumentParser(usage="%(prog)s [--limit SECONDS] -- COMMAND ...", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--limit", type=float, default=COMMAND_SECONDS, help="default: %(default)s")
    parser.add_argument("command", nargs="+", help="what to run")
    options = parser.parse_args()
    leave_on_signals()
    try:
        return launch(options.command, limit_seconds=options.limit)
    except Stopped as stopped:
        say(str(stopped))
        return stopped.status


if __name__ == "__main__":
    sys.exit(main())
