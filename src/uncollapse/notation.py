"""One notation for fixes everywhere: `name(1, key=2)`, read without evaluating anything."""

import ast
from dataclasses import dataclass, field
from typing import Any

from uncollapse.errors import NotationError


@dataclass(frozen=True)
class Call:
    """A parsed `name(arguments)`."""

    name: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


def parse_calls(text: str) -> tuple[Call, ...]:
    """Read `a(1) + b(2, key=word)` as calls; bare words are strings.

    >>> parse_calls("temperature(0.8)")
    (Call(name='temperature', arguments=(0.8,), keywords={}),)

    Raises:
        NotationError: the text is no sum of calls.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return tuple(_read_call(node) for node in _summands(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotationError(f"Expected a fix such as 'temperature(0.8)', got {text!r}. Write name(number).") from error


def _summands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summands(node.left), *_summands(node.right)]
    return [node]


def _read_call(node: ast.expr) -> Call:
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(ast.dump(node))
    if any(word.arg is None for word in node.keywords):
        raise ValueError(ast.dump(node))
    keywords = {str(word.arg): _read_value(word.value) for word in node.keywords}
    return Call(node.func.id, tuple(_read_value(value) for value in node.args), keywords)


def _read_value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return float(node.id) if node.id in {"nan", "inf"} else node.id
    return ast.literal_eval(node)
