"""moto's update expressions, at half their price.

moto parses an expression anew for every request, copies its tree generically, and walks it ten times, or twenty for a
new item, asking each node for its type through abstract classes. Here each expression is parsed once, and copying and
walking know the types they meet. What the walks do to a node stays moto's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

_MOST_EXPRESSIONS = 1024


class Node(Protocol):
    """A node of moto's trees; the module has no types."""

    parent: Node | None
    children: list[Any] | None


@contextmanager
def installed() -> Generator[None]:
    """Let moto work this way."""
    parser: Any = import_module("moto.dynamodb.parsing.expressions").UpdateExpressionParser
    nodes: Any = import_module("moto.dynamodb.parsing.ast_nodes")
    parse, traverse = parser.make, nodes.DepthFirstTraverser.traverse
    parser.make = lru_cache(_MOST_EXPRESSIONS)(parse)
    nodes.DepthFirstTraverser.traverse = _traverse
    nodes.Node.__deepcopy__ = _copied
    try:
        yield
    finally:
        parser.make = parse
        nodes.DepthFirstTraverser.traverse = traverse
        del nodes.Node.__deepcopy__


def _kind() -> type[Any]:
    return import_module("moto.dynamodb.parsing.ast_nodes").Node  # type: ignore[no-any-return]


def _copied(node: Node, memo: dict[int, Any]) -> Node:
    """Copy a node with all below it; the copy is a root until it gets a parent."""
    twin: Node = object.__new__(type(node))
    twin.__dict__.update(node.__dict__)
    twin.parent = None
    if node.children is not None:
        twin.children = [copy.deepcopy(child, memo) for child in node.children]
        for child in twin.children:
            if isinstance(child, _kind()):
                child.parent = twin
    return twin


def _traverse(self: Any, node: Node) -> Node:  # noqa: ANN401 - a method of an untyped class
    """Walk the tree depth first and put each node's successor in its place, as `DepthFirstTraverser` describes it."""
    wanted: dict[type, Callable[[Node], Node]] = self._processing_map()
    known: dict[type, Callable[[Node], Node] | None] = {}
    a_node = _kind()

    def processor(kind: type) -> Callable[[Node], Node] | None:
        if kind not in known:
            known[kind] = next((process for each, process in wanted.items() if issubclass(kind, each)), None)
        return known[kind]

    def visit(node: Node, place: int) -> Node:
        parent = node.parent
        for index, child in enumerate(node.children or ()):
            self.pre_processing_of_child(node, index)
            if isinstance(child, a_node):
                visit(child, index)
        process = processor(type(node))
        if process is None:
            return node
        successor = process(node)
        successor.parent = parent
        if parent is not None and parent.children is not None:
            parent.children[place] = successor
        return successor

    return visit(node, -1)
