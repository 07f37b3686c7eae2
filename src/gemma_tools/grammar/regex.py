"""Nodes as regular expressions: those that hold no control token, no free text and no rule."""

from __future__ import annotations

from collections.abc import Callable

from gemma_tools.grammar.charset import ALL, Ranges, minus
from gemma_tools.grammar.nodes import Alt, Chars, Lit, Node, Repeat, Seq


def regex(node: Node, write: Callable[[str], str]) -> str:
    """The node as a regular expression; `write` gives one character as it is written there, in a class or not.

    Raises:
        TypeError: something in the node is no part of a regular expression.
    """
    match node:
        case Lit(text):
            return "".join(map(write, text))
        case Chars(ranges):
            return _class(ranges, write)
        case Seq(items):
            return "".join(f"({regex(item, write)})" if isinstance(item, Alt) else regex(item, write) for item in items)
        case Alt(items):
            return "|".join(regex(item, write) for item in items)
        case Repeat(item, low, high):
            inner = regex(item, write)
            return (inner if isinstance(item, Chars) else f"({inner})") + times(low, high)
        case _:
            raise TypeError(f"a regular expression cannot hold {node!r}")


def times(low: int, high: int | None) -> str:
    """How often, in the shortest form."""
    match low, high:
        case 0, 1:
            return "?"
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case _:
            return f"{{{low},{'' if high is None else high}}}"


def _class(ranges: Ranges, write: Callable[[str], str]) -> str:
    if ranges[-1][1] == 0x10FFFF:
        return f"[^{_spans(((0, 0), *minus(ALL, ranges)), write)}]"
    return f"[{_spans(ranges, write)}]"


def _spans(ranges: Ranges, write: Callable[[str], str]) -> str:
    ends = (tuple(write(chr(end)) for end in span) for span in ranges)
    return "".join(low if low == high else f"{low}-{high}" for low, high in ends)
