"""DynamoDB's condition and update expressions, evaluated over an item in memory.

For tests of consumers, and of streamkit itself: what a transaction would do to a table. Documented at
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html

    condition := and {OR and}        and := not {AND not}        not := NOT not | term
    update    := {SET path = sum, ... | REMOVE path, ... | ADD path value, ... | DELETE path value, ...}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import cast

from streamkit.core.attributes import spelled
from streamkit.core.values import Attribute, Image

Path = tuple[str | int, ...]
Value = Callable[[Image], Attribute | None]
Test = Callable[[Image], bool]
Change = tuple[str, Path, Value]
Sets = Mapping[str, str]

_TOKEN = re.compile(r"\s*(?:(<>|<=|>=|[=<>(),+\-.\[\]])|([#:]?[A-Za-z0-9_]+))")
_COMPARISONS: Mapping[str, Callable[[Attribute, Attribute], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: _ordered(a, b) and _rank(a) < _rank(b),
    "<=": lambda a, b: _ordered(a, b) and _rank(a) <= _rank(b),
    ">": lambda a, b: _ordered(a, b) and _rank(a) > _rank(b),
    ">=": lambda a, b: _ordered(a, b) and _rank(a) >= _rank(b),
}
_SETS = ("SS", "NS", "BS")


class ExpressionError(ValueError):
    """What DynamoDB would answer with a ValidationException."""


def holds(text: str, item: Image, *, names: Sets, values: Image) -> bool:
    """Say whether a condition holds for an item; an empty item is one that is not there. Raises `ExpressionError`."""
    if not text:
        return True
    parser = _Parser(text, names, values)
    test = parser.condition()
    parser.end()
    return test(item)


def updated(text: str, item: Image, *, names: Sets, values: Image) -> Image:
    """Return the item after an update: every value is taken from the item before it. Raises `ExpressionError`."""
    parser = _Parser(text, names, values)
    changes = list(parser.update())
    after = dict(item)
    for verb, path, value in changes:
        after = _VERBS[verb](after, path, value(item))
    return after


class _Parser:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, text: str, names: Sets, values: Image) -> None:
        self._tokens = _tokens(text)
        self._names = names
        self._values = values
        self._at = 0

    def end(self) -> None:
        if self._peek():
            raise ExpressionError(f"expected the end of the expression, got {self._peek()!r}")

    # Conditions

    def condition(self) -> Test:
        tests = [self._and()]
        while self._accept("OR"):
            tests.append(self._and())
        return lambda item: any(test(item) for test in tests)

    def _and(self) -> Test:
        tests = [self._not()]
        while self._accept("AND"):
            tests.append(self._not())
        return lambda item: all(test(item) for test in tests)

    def _not(self) -> Test:
        if self._accept("NOT"):
            test = self._not()
            return lambda item: not test(item)
        if self._accept("("):
            test = self.condition()
            self._expect(")")
            return test
        return self._term()

    def _term(self) -> Test:
        function = self._peek().lower()
        if function in _TESTS and self._peek(1) == "(":
            arguments = self._arguments(paths=1)
            return lambda item: _TESTS[function](*(argument(item) for argument in arguments))
        left = self._operand()
        if self._accept("BETWEEN"):
            low = self._operand()
            self._expect("AND")
            high = self._operand()
            return lambda item: _compared(">=", left(item), low(item)) and _compared("<=", left(item), high(item))
        if self._accept("IN"):
            choices = self._arguments(named=False)
            return lambda item: any(_compared("=", left(item), choice(item)) for choice in choices)
        sign = self._next()
        if sign not in _COMPARISONS:
            raise ExpressionError(f"expected a comparison, got {sign!r}")
        right = self._operand()
        return lambda item: _compared(sign, left(item), right(item))

    def _arguments(self, *, named: bool = True, paths: int = 0) -> list[Value]:
        """Read what stands in the brackets of a function, whose name comes first; the first `paths` are paths."""
        if named:
            self._next()
        self._expect("(")
        found = [self._sum()]
        while self._accept(","):
            found.append(self._sum())
        self._expect(")")
        if len(found) < paths:
            raise ExpressionError("expected more arguments")
        return found

    # Operands

    def _sum(self) -> Value:
        left = self._operand()
        for sign in ("+", "-"):
            if self._accept(sign):
                right = self._operand()
                return lambda item: _added(left(item), right(item), sign=sign)
        return left

    def _operand(self) -> Value:
        token = self._peek()
        function = token.lower()
        if function in _VALUES and self._peek(1) == "(":
            arguments = self._arguments()
            return lambda item: _VALUES[function](*(argument(item) for argument in arguments))
        if token.startswith(":"):
            self._next()
            if token not in self._values:
                raise ExpressionError(f"expected a value for {token}, got none")
            value = self._values[token]
            return lambda _: value
        path = self._path()
        return lambda item: _found(item, path)

    def _path(self) -> Path:
        steps: list[str | int] = [self._name()]
        while True:
            if self._accept("."):
                steps.append(self._name())
            elif self._accept("["):
                steps.append(int(self._next()))
                self._expect("]")
            else:
                return tuple(steps)

    def _name(self) -> str:
        token = self._next()
        if token.startswith("#"):
            if token not in self._names:
                raise ExpressionError(f"expected a name for {token}, got none")
            return self._names[token]
        if not re.match(r"[A-Za-z_]", token):
            raise ExpressionError(f"expected the name of an attribute, got {token!r}")
        return token

    # Updates

    def update(self) -> Iterator[Change]:
        while verb := self._peek().upper():
            self._next()
            if verb not in _VERBS:
                raise ExpressionError(f"expected SET, REMOVE, ADD or DELETE, got {verb!r}")
            yield self._change(verb)
            while self._accept(","):
                yield self._change(verb)

    def _change(self, verb: str) -> Change:
        path = self._path()
        if verb == "SET":
            self._expect("=")
            return verb, path, self._sum()
        return verb, path, (lambda _: None) if verb == "REMOVE" else self._operand()

    # Tokens

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise ExpressionError("expected more of the expression, got its end")
        self._at += 1
        return token

    def _accept(self, token: str) -> bool:
        if self._peek().upper() != token:
            return False
        self._at += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise ExpressionError(f"expected {token!r}, got {self._peek()!r}")


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(f"expected an expression, got {text[at : at + 10]!r}")
        tokens.append(found.group(1) or found.group(2))
        at = found.end()
    return tokens


# What functions and comparisons mean


def _kind(value: Attribute) -> str:
    return next(name for name in Attribute.__struct_fields__ if getattr(value, name) is not None)


def _ordered(a: Attribute, b: Attribute) -> bool:
    return _kind(a) == _kind(b) and _kind(a) in ("S", "N", "B")


def _rank(value: Attribute) -> tuple[Decimal, bytes]:
    """Return what values of one kind are ordered by."""
    if value.N is not None:
        return Decimal(value.N), b""
    return Decimal(0), (value.S or "").encode() if value.B is None else value.B


def _compared(sign: str, left: Attribute | None, right: Attribute | None) -> bool:
    return left is not None and right is not None and _COMPARISONS[sign](left, right)


def _begins_with(value: Attribute | None, start: Attribute | None) -> bool:
    if value is None or start is None:
        return False
    if value.S is not None and start.S is not None:
        return value.S.startswith(start.S)
    return value.B is not None and start.B is not None and value.B.startswith(start.B)


def _contains(value: Attribute | None, part: Attribute | None) -> bool:
    if value is None or part is None:
        return False
    if value.S is not None:
        return part.S is not None and part.S in value.S
    if value.L is not None:
        return part in value.L
    members = value.SS or value.NS or value.BS or ()
    return (part.S or part.N or part.B) in members


def _measured(value: Attribute | None) -> Attribute | None:
    if value is None:
        return None
    held = getattr(value, _kind(value))
    return Attribute(N=str(len(held.encode() if isinstance(held, str) else held)))


def _joined(first: Attribute | None, second: Attribute | None) -> Attribute:
    if first is None or second is None or first.L is None or second.L is None:
        raise ExpressionError("list_append: expected two lists, got something else")
    return Attribute(L=[*first.L, *second.L])


def _is_there(value: Attribute | None) -> bool:
    return value is not None


def _is_missing(value: Attribute | None) -> bool:
    return value is None


def _is_of(value: Attribute | None, kind: Attribute) -> bool:
    return value is not None and _kind(value) == kind.S


def _or_else(value: Attribute | None, otherwise: Attribute | None) -> Attribute | None:
    return otherwise if value is None else value


_TESTS: Mapping[str, Callable[..., bool]] = {
    "attribute_exists": _is_there,
    "attribute_not_exists": _is_missing,
    "attribute_type": _is_of,
    "begins_with": _begins_with,
    "contains": _contains,
}
_VALUES: Mapping[str, Callable[..., Attribute | None]] = {
    "size": _measured,
    "if_not_exists": _or_else,
    "list_append": _joined,
}


def _added(left: Attribute | None, right: Attribute | None, *, sign: str) -> Attribute:
    if left is None or right is None or left.N is None or right.N is None:
        raise ExpressionError("expected two numbers to calculate with, got something else")
    a, b = Decimal(left.N), Decimal(right.N)
    return Attribute(N=spelled(a + b if sign == "+" else a - b))


# What updates do


def _found(item: Image, path: Path) -> Attribute | None:
    value: Attribute | None = Attribute(M=item)
    for step in path:
        if value is None:
            return None
        if isinstance(step, str):
            value = (value.M or {}).get(step)
        else:
            value = value.L[step] if value.L is not None and step < len(value.L) else None
    return value


def _put(item: Image, path: Path, value: Attribute | None) -> Image:
    """Return the item with this value at a path, or with nothing there."""
    changed = _changed(Attribute(M=item), path, value)
    return cast("Image", changed.M)


def _changed(whole: Attribute, path: Path, value: Attribute | None) -> Attribute:
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        if whole.L is None:
            raise ExpressionError("expected a list at the path, got something else")
        return Attribute(L=_with_element(whole.L, step, rest, value))
    if whole.M is None:
        raise ExpressionError("expected a map at the path, got something else")
    if rest:
        if step not in whole.M:
            raise ExpressionError(f"expected an attribute {step!r} on the path, got none")
        value = _changed(whole.M[step], rest, value)
    others = {name: each for name, each in whole.M.items() if name != step}
    return Attribute(M=others if value is None else {**others, step: value})


def _with_element(elements: list[Attribute], index: int, rest: Path, value: Attribute | None) -> list[Attribute]:
    there = index < len(elements)
    if rest:
        if not there:
            raise ExpressionError(f"expected an element {index} on the path, got none")
        value = _changed(elements[index], rest, value)
    before, after = elements[:index], elements[index + 1 :]
    return [*before, *after] if value is None else [*before, value, *after]


def _add(item: Image, path: Path, value: Attribute | None) -> Image:
    before = _found(item, path)
    if value is None or _kind(value) not in ("N", *_SETS):
        raise ExpressionError("ADD: expected a number or a set, got something else")
    if before is None:
        return _put(item, path, value)
    if value.N is not None:
        return _put(item, path, _added(before, value, sign="+"))
    return _put(item, path, _merged(before, value, keep=lambda mine, other: {**mine, **other}))


def _delete(item: Image, path: Path, value: Attribute | None) -> Image:
    before = _found(item, path)
    if value is None or _kind(value) not in _SETS:
        raise ExpressionError("DELETE: expected a set, got something else")
    if before is None:
        return item
    rest = _merged(before, value, keep=lambda mine, other: {each: None for each in mine if each not in other})
    return _put(item, path, rest if getattr(rest, _kind(value)) else None)


def _merged(
    before: Attribute, value: Attribute, *, keep: Callable[[dict[object, None], dict[object, None]], dict[object, None]]
) -> Attribute:
    kind = _kind(value)
    if _kind(before) != kind:
        raise ExpressionError(f"expected a set of the same kind, got {_kind(before)} and {kind}")
    members = list(keep(dict.fromkeys(getattr(before, kind)), dict.fromkeys(getattr(value, kind))))
    order: Callable[[object], object] = (lambda each: Decimal(cast("str", each))) if kind == "NS" else lambda each: each
    return Attribute(**{kind: sorted(members, key=order)})  # type: ignore[arg-type] # of one kind


_VERBS: Mapping[str, Callable[[Image, Path, Attribute | None], Image]] = {
    "SET": _put,
    "REMOVE": _put,
    "ADD": _add,
    "DELETE": _delete,
}
