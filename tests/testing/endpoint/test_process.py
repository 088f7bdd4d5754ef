"""The endpoint as a program."""

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest

from streamkit.testing.endpoint import Endpoint, endpoint_process

LOCAL = [sys.executable, "-c", "from streamkit.cli import main; main()", "local"]


@contextmanager
def program(*options: str) -> Generator[subprocess.Popen[str]]:
    """Run `streamkit local`, up to its first line."""
    with subprocess.Popen([*LOCAL, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_exports_for_a_shell_and_stops_cleanly(number: signal.Signals) -> None:
    """Status 0, nothing on stderr."""
    with program("--port", "0") as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(6)]
        child.send_signal(number)
        _, complaints = child.communicate(timeout=10)
    assert child.returncode == 0
    assert complaints == ""
    assert lines[0].startswith("export AWS_ENDPOINT_URL=http://127.0.0.1:")
    names = [line.removeprefix("export ").split("=")[0] for line in lines[1:]]
    assert names == ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "\n"]


def test_a_taken_port_is_one_line_and_status_2() -> None:
    """It says which address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with program("--port", str(port)) as child:
            _, complaints = child.communicate(timeout=20)
    assert child.returncode == 2
    assert complaints.count("\n") == 1
    assert f"127.0.0.1:{port}" in complaints


def test_without_moto_it_says_in_one_line_what_to_install() -> None:
    """And serves Kinesis all the same."""
    without = "import streamkit.testing.endpoint.moto as moto; moto.is_installed = lambda: False; "
    command = [LOCAL[0], "-c", without + LOCAL[2], "local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("export AWS_ENDPOINT_URL=")
        child.terminate()
        _, complaints = child.communicate(timeout=10)
    assert complaints.count("\n") == 1
    assert 'pip install "streamkit[local]"' in complaints


def test_it_ends_with_whoever_started_it() -> None:
    """Also when that one is killed: the pipe closes."""
    with subprocess.Popen(
        [*LOCAL, "--port", "0", "--while-stdin-open"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline()
        child.stdin.close()
        assert child.wait(10) == 0


def test_it_listens_on_this_machine_alone() -> None:
    """A loopback address, so nobody else reaches it."""
    with endpoint_process() as exports:
        assert exports["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


def test_limits_are_switched_by_an_option() -> None:
    """And refused ones are named."""
    with program("--limits", "--port", "0") as child:
        assert child.stdout is not None
        assert child.stdout.readline()
    with program("--port", "65536") as child:
        assert child.wait(20) == 2


async def test_two_endpoints_with_moto_do_not_share_one_process() -> None:
    """Its state is the process's: the second is refused, and may go without."""
    async with Endpoint(), Endpoint(moto=False) as other:
        assert other.port
        with pytest.raises(RuntimeError, match="moto=False"):
            async with Endpoint():
                pass


async def test_a_body_beyond_the_bound_is_refused() -> None:
    """Status 413, whatever it is for: 64 MiB hold the largest request AWS takes several times."""
    async with Endpoint(moto=False) as endpoint:

        def ask() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", endpoint.port)
            connection.request("POST", "/", body=bytes((64 << 20) + 1))
            with connection.getresponse() as response:
                connection.close()
                return response.status

        assert await asyncio.to_thread(ask) == 413


async def test_without_moto_other_services_say_what_to_install() -> None:
    """Status 501 and the name of the extra."""
    async with Endpoint(moto=False) as endpoint:

        def ask() -> tuple[int, bytes]:
            try:
                urllib.request.urlopen(endpoint.url)  # noqa: S310 - our own address
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, refused.read()
            raise AssertionError

        status, body = await asyncio.to_thread(ask)
    assert status == 501
    assert b"streamkit[local]" in body


def test_the_childs_environment_is_not_led_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS_ENDPOINT_URL of the parent does not reach it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1")
    with endpoint_process() as exports:
        found: Mapping[str, str] = exports
    assert found["AWS_ENDPOINT_URL"] != os.environ["AWS_ENDPOINT_URL"]
