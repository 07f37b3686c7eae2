"""Nodes as regular expressions: those that hold no control token, no free text and no rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gemma_tools.grammar.charset import ALL, Ranges, minus
from gemma_tools.grammar.nodes import Alt, Chars, Lit, Node, Repeat, Seq


def regex(node: Node, write: Callable[[str], str], *, apart: str = "") -> str:
    """The node as a regular expression; `write` gives one character as it is written there, in a class or not.

    `apart` ends each branch of a choice, for a reader that would take the ends of two branches for one.

    Raises:
        TypeError: something in the node is no part of a regular expression.
    """
    inside = partial(regex, write=write, apart=apart)
    match node:
        case Lit(text):
            return "".join(map(write, text))
        case Chars(ranges):
            return _class(ranges, write)
        case Seq(items):
            return "".join(f"({inside(item)})" if isinstance(item, Alt) else inside(item) for item in items)
        case Alt(items):
            return "|".join(inside(item) + apart for item in items)
        case Repeat(item, 0, 1) if apart and not isinstance(item, Chars):
            return f"({inside(item)}{apart}|)"
        case Repeat(item, low, high):
            inner = inside(item)
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
