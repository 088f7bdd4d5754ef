"""Idempotency of transactions by ClientRequestToken, which moto lacks.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

TOKEN_SECONDS = 600
_MOST_TOKENS = 10_000

T = TypeVar("T")


class Mismatch(Exception):
    """The token came before with other parameters."""


class Tokens(Generic[T]):
    """Answers of completed transactions, for ten minutes each; the oldest make room beyond 10,000."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[tuple[str, str], tuple[float, bytes, T]] = OrderedDict()

    def once(self, region: str, body: bytes, run: Callable[[], tuple[bool, T]]) -> T:
        """Return the answer of `run`, or the one it gave before; it says whether it took effect.

        Raises `Mismatch`; and `msgspec.DecodeError` if the body is no JSON.
        """
        request = msgspec.json.decode(body, type=dict[str, object])
        token = request.pop("ClientRequestToken", None)
        if not isinstance(token, str):
            return run()[1]
        digest = hashlib.sha256(msgspec.json.encode(request, order="sorted")).digest()
        self._forget()
        known = self._answers.get((region, token))
        if known is not None:
            if known[1] != digest:
                raise Mismatch(token)
            return known[2]
        effective, answer = run()
        if effective:
            self._answers[region, token] = self._clock(), digest, answer
        return answer

    def _forget(self) -> None:
        oldest = self._clock() - TOKEN_SECONDS
        while self._answers:
            at = next(iter(self._answers.values()))[0]
            if at >= oldest and len(self._answers) < _MOST_TOKENS:
                return
            self._answers.popitem(last=False)
