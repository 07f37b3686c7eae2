"""Nodes as regular expressions: those without special tokens, free text and rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType

from gemma_tools.grammar.charset import ALL, Ranges, minus
from gemma_tools.grammar.nodes import Alt, Chars, Lit, Node, Ref, Repeat, Seq

_NONE: Mapping[str, str] = MappingProxyType({})


def regex(node: Node, write: Callable[[str], str], rules: Mapping[str, str] = _NONE, *, apart: str = "") -> str:
    """The node as a regular expression; `write` writes one character, in a class or not.

    `rules` are the expressions of the rules that it uses, each in a form that can be next to others. `apart` ends each branch
    of a choice, for a reader that would confuse the ends of two branches.

    Raises:
        TypeError: a part of the node cannot be a regular expression.
    """
    inside = partial(regex, write=write, rules=rules, apart=apart)
    match node:
        case Lit(text):
            return "".join(map(write, text))
        case Chars(ranges):
            return _class(ranges, write)
        case Seq(items):
            texts = map(inside, items)
            return "".join(f"({text})" if isinstance(item, Alt) else text for item, text in zip(items, texts, strict=True))
        case Alt(items):
            return "|".join(inside(item) + apart for item in items)
        case Ref(name) if name in rules:
            return rules[name]
        case Repeat(item, 0, 1) if apart and not isinstance(item, Chars):
            return f"({inside(item)}{apart}|)"
        case Repeat(item, low, high):
            inner = inside(item)
            return (inner if isinstance(item, Chars) else f"({inner})") + times(low, high)
        case _:
            raise TypeError(f"a regular expression cannot hold {node!r}")


def times(low: int, high: int | None) -> str:
    """The repetition count, in the shortest form."""
    match low, high:
        case 0, 1:
            return "?"
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case _:
            return f"{{{low},{'' if high is None else high}}}"


@lru_cache(maxsize=1024)
def _class(ranges: Ranges, write: Callable[[str], str]) -> str:
    if ranges[-1][1] == 0x10FFFF:
        return f"[^{_spans(((0, 0), *minus(ALL, ranges)), write)}]"
    return f"[{_spans(ranges, write)}]"


def _spans(ranges: Ranges, write: Callable[[str], str]) -> str:
    ends = (tuple(write(chr(end)) for end in span) for span in ranges)
    return "".join(low if low == high else f"{low}-{high}" for low, high in ends)
