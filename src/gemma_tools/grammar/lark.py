"""Print rules in llguidance's dialect of Lark, with control tokens by name.

llguidance tells a control token from text that looks like it, so free text leaves out only the spellings that would end
a string or a turn for whoever reads the text. Terminals are lexemes: greedy, and at least one character long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from gemma_tools.grammar.charset import ALL, Ranges, minus
from gemma_tools.grammar.free import without_free
from gemma_tools.grammar.nodes import Alt, Chars, Lit, Node, Ref, Repeat, Seq, Token, walk

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ,:;=!@%<>'\"")


def print_lark(bodies: Mapping[str, Node]) -> str:
    """The rules as Lark; the rule `root` is printed as `start`."""
    plain = without_free(bodies, lambda free: free.forbidden)
    rules = [f"{_name(name)}: {_terminal(body) if name.isupper() else _expression(body)}\n" for name, body in plain.items()]
    return "".join(["%llguidance {}\n", *rules])


def _name(name: str) -> str:
    return "start" if name == "root" else name


def _terminal(node: Node) -> str:
    return _expression(node) if any(isinstance(part, Ref) for part in walk(node)) else f"/{_regex(node)}/"


def _expression(node: Node) -> str:
    match node:
        case Alt(items):
            return " | ".join(map(_factor, items))
        case Seq(items):
            return " ".join(map(_factor, items)) or '""'
        case _:
            return _factor(node)


def _factor(node: Node) -> str:
    match node:
        case Lit(text):
            return json.dumps(text, ensure_ascii=False)
        case Token(spelling):
            return spelling
        case Chars():
            return f"/{_regex(node)}/"
        case Ref(name):
            return _name(name)
        case Repeat(item, low, high):
            return _factor(item) + _times(low, high)
        case _:
            return f"({_expression(node)})"


def _times(low: int, high: int | None) -> str:
    match low, high:
        case 0, 1:
            return "?"
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case _:
            return f"{{{low},{'' if high is None else high}}}"


def _regex(node: Node) -> str:
    match node:
        case Lit(text):
            return "".join(map(_character, text))
        case Chars(ranges):
            return _class(ranges)
        case Seq(items):
            return "".join(f"({_regex(item)})" if isinstance(item, Alt) else _regex(item) for item in items)
        case Alt(items):
            return "|".join(map(_regex, items))
        case Repeat(item, low, high):
            inner = _regex(item)
            return (inner if isinstance(item, Chars) else f"({inner})") + _times(low, high)
        case _:
            raise TypeError(f"a terminal cannot hold {node!r}")


def _class(ranges: Ranges) -> str:
    if ranges[-1][1] == 0x10FFFF:
        return f"[^{_spans(((0, 0), *minus(ALL, ranges)))}]"
    return f"[{_spans(ranges)}]"


def _spans(ranges: Ranges) -> str:
    ends = (tuple(_character(chr(end)) for end in span) for span in ranges)
    return "".join(low if low == high else f"{low}-{high}" for low, high in ends)


def _character(character: str) -> str:
    return character if character in _PLAIN else f"\\x{{{ord(character):X}}}"
