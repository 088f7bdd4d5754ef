"""One loopback address for all of AWS: Kinesis from our world, the rest from moto."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, Self

from aiohttp import web

from streamkit.clock import SystemChance, SystemClock
from streamkit.testing.dynamodb_streams.shards import ROLL_SECONDS
from streamkit.testing.endpoint import protocol
from streamkit.testing.endpoint.moto import MISSING, Moto, is_installed
from streamkit.testing.endpoint.pushing import push
from streamkit.testing.endpoint.wsgi import Answered, Asked
from streamkit.testing.kinesis import UNLIMITED, AnswerLost, Faults, KinesisError, KinesisWorld, Limits
from streamkit.testing.kinesis.fan_out import Subscription
from streamkit.testing.kinesis.limits import MIB

REGION: Final = "us-east-1"
_CREDENTIAL: Final = re.compile(r"Credential=[^/]*/\d*/([a-z0-9-]{1,32})/")
_MOST_REGIONS: Final = 64
_MOST_BODY_BYTES: Final = 64 * MIB
_SHUTDOWN_SECONDS: Final = 0.5
_OURS: Final = frozenset({"connection", "content-length", "date", "server", "transfer-encoding"})


def _system_time() -> float:
    return SystemClock().now().timestamp()


class Endpoint:
    """An HTTP server while its `async with` lasts; it has a world of its own per region, all gone at the end.

    `port` 0 means a free one. Any credentials are right, and a request's signature names its region. `clock` returns
    epoch seconds; every `roll_seconds` the shards of tables' streams roll. Raises OSError if the address is taken.
    """

    def __init__(  # noqa: PLR0913 - settings of a server, each with its default
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits = UNLIMITED,
        faults: Faults | None = None,
        seed: int = 0,
        clock: Callable[[], float] = _system_time,
        moto: bool = True,
        roll_seconds: float = ROLL_SECONDS,
    ) -> None:
        self._host = host
        self._port = port
        self._limits = limits
        self._faults = faults or Faults()
        self._seed = seed
        self._clock = clock
        self._moto = Moto(clock, roll_seconds=roll_seconds) if moto and is_installed() else None
        self._worlds: dict[str, KinesisWorld] = {}
        self._resources = AsyncExitStack()
        self._chance = SystemChance()

    def __repr__(self) -> str:
        """Tell the state."""
        return f"<Endpoint {self.url}, {len(self._worlds)} regions, {'with' if self._moto else 'without'} moto>"

    @property
    def url(self) -> str:
        """The address, for `endpoint_url` or AWS_ENDPOINT_URL."""
        return f"http://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        """The port; known once the endpoint was entered."""
        return self._port

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that lead every AWS SDK here."""
        return environment(self.url)

    def kinesis(self, region: str = REGION) -> KinesisWorld:
        """Return the world behind a region: to look into it, or to switch its limits and faults."""
        if region not in self._worlds:
            if len(self._worlds) >= _MOST_REGIONS:
                raise KinesisError("LimitExceededException", f"expected at most {_MOST_REGIONS} regions, got {region}")
            chance = random.Random(f"{self._seed}:{region}")
            self._worlds[region] = KinesisWorld(
                clock=self._clock, chance=chance, limits=self._limits, faults=self._faults, region=region
            )
        return self._worlds[region]

    async def __aenter__(self) -> Self:
        """Start to listen."""
        if self._moto is not None:
            await self._resources.enter_async_context(self._moto)
        try:
            await self._listen()
        except BaseException:
            await self._resources.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, after the requests under way."""
        await self._resources.aclose()

    async def _listen(self) -> None:
        application = web.Application(client_max_size=_MOST_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._resources.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, self._host, self._port).start()
        self._port = runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        target = request.headers.get("X-Amz-Target", "")
        found = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        region = found.group(1) if found else REGION
        if target.startswith(protocol.TARGET):
            return await self._kinesis(request, body, target.removeprefix(protocol.TARGET), region)
        if self._moto is None:
            return web.Response(status=501, text=MISSING)
        asked = _asked(request, body, self._port)
        return _response(asked, await self._moto.answer(asked, region=region))

    async def _kinesis(self, request: web.Request, body: bytes, operation: str, region: str) -> web.StreamResponse:
        status, answer = 200, b""
        headers = {"Content-Type": protocol.JSON, "x-amzn-RequestId": self._chance.token()}
        try:
            world = self.kinesis(region)
            latency_seconds = world.latency_seconds(operation)
            if latency_seconds:
                await asyncio.sleep(latency_seconds)
            answered = protocol.answer(world, operation, body, content_type=request.content_type)
            if isinstance(answered, Subscription):
                return await push(request, answered, now=self._clock, headers=headers)
            answer = answered
        except KinesisError as refused:
            status, answer = protocol.refusal(refused)
        except AnswerLost:
            if request.transport is not None:
                request.transport.abort()
        return web.Response(status=status, body=answer, headers=headers)


def environment(url: str) -> dict[str, str]:
    """Return the variables that lead every AWS SDK to `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def _asked(request: web.Request, body: bytes, port: int) -> Asked:
    return Asked(
        method=request.method,
        path=request.path,
        raw_path=request.raw_path,
        query=request.raw_path.partition("?")[2],
        headers=list(request.headers.items()),
        body=body,
        host=request.host.rsplit(":", 1)[0],
        port=port,
    )


def _response(asked: Asked, answered: Answered) -> web.Response:
    """Pass an answer on, but for the headers that are ours to say; to HEAD, the length is of what is not sent."""
    body = None if asked.method == "HEAD" else answered.body
    response = web.Response(status=answered.status, body=body)
    response.headers.popall("Content-Type", None)
    for name, value in answered.headers:
        if name.lower() not in _OURS or (body is None and name.lower() == "content-length"):
            response.headers.add(name, value)
    return response
